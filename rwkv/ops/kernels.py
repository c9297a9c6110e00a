"""Where there are kernels: native ones on the CPU, Triton's on a GPU."""

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from rwkv.ops.native import is_built

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
