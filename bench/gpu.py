"""Shared by the GPU benchmarks: a check that there is a GPU, and the count of launches."""

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def need_gpu() -> None:
    """Exit with a message if PyTorch cannot use a GPU."""
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a GPU, and PyTorch finds none that it can use.")


def launches(run: Callable[[], object]) -> int:
    """The number of kernels, copies and fills on the GPU in one call of `run`."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in seen.events())
