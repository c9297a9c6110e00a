"""Where there are kernels, native ones on the CPU or Triton's on a GPU, and what a command computes in."""

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from rwkv.device import TORCH_DTYPES, open_device
from rwkv.ops.cpu.native import is_built
from rwkv.runtime import log

# How many channels a head may have for the kernels.
HEAD_WIDTHS = (16, 32, 64)


def has_native(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """Whether the native kernels take these inputs: float32 on the CPU, heads of HEAD_WIDTHS."""
    fit = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in inputs)
    return fit and head_width in HEAD_WIDTHS and is_built()


def has_triton_for(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """Whether Triton's kernels take these inputs: float32 or bfloat16 on a GPU, heads of HEAD_WIDTHS."""
    fit = all(x.is_cuda and x.dtype in (torch.float32, torch.bfloat16) for x in inputs)
    return fit and head_width in HEAD_WIDTHS and has_triton()


def has_gpu_kernels(device: torch.device) -> bool:
    """Whether a device is a GPU on which Triton's kernels run."""
    return device.type == "cuda" and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton is there, and what a first launch needs: a C compiler, and the headers of Python."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and (headers() / "Python.h").is_file() and find_spec("triton") is not None


def headers() -> Path:
    """Where Triton looks for Python's headers."""
    scheme = sysconfig.get_default_scheme()
    return Path(sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme))


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
