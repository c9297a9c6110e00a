"""The device and the number format a command computes in, and a notice where it is not as fast as it could be."""

import torch

from rwkv.device import TORCH_DTYPES, open_device
from rwkv.ops.kernels import has_gpu_kernels
from rwkv.ops.native import is_built
from rwkv.runtime import log


def open_compute_device(name: str, threads: int, dtype: str = "float32") -> torch.device:
    """`open_device`, and a line in the log where it has to do without the kernels that are made for it.

    dtype: the configured one; another line says where it is not the one that is computed in.
    """
    device = open_device(name, threads)
    if compute_dtype(dtype, device) != TORCH_DTYPES[dtype]:
        log.info("DTYPE %s is many times slower than float32 on a CPU, so this computes in float32", dtype)
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


def compute_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """What to compute in for a configured dtype: on a CPU float32, which is both faster and more precise there."""
    return torch.float32 if device.type == "cpu" else TORCH_DTYPES[dtype]
