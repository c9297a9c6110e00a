"""The device a command computes on, and a notice where it computes more slowly than it could."""

import torch

from rwkv.device import open_device
from rwkv.ops.kernels import has_gpu_kernels
from rwkv.ops.native import is_built
from rwkv.runtime import log


def open_compute_device(name: str, threads: int) -> torch.device:
    """`open_device`, and one line in the log where it has to do without the kernels that are made for it."""
    device = open_device(name, threads)
    if device.type == "cpu" and not is_built():
        log.warning(
            "the native CPU kernels were not built, so this takes several times as long; with a C++ compiler, run "
            "`pip install --no-build-isolation -e .` again"
        )
    if device.type == "cuda" and not has_gpu_kernels(device):
        log.warning(
            "there is no Triton, or no C compiler or no headers of Python for it, so this takes many times as long; "
            "`pip install triton`, and see to gcc or clang and to the package python3-dev"
        )
    return device
