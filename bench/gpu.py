"""What the benchmarks of the GPU share: that there is one, their baseline, and how many launches something takes."""

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def need_gpu() -> None:
    """End the program with a sentence where PyTorch can use no GPU."""
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a GPU, and PyTorch finds none that it can use.")


def launches(run: Callable[[], object]) -> int:
    """Kernels, copies and fills on the GPU in one call of `run`."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in seen.events())
