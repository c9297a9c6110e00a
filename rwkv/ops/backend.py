"""Where there are kernels, native ones on the CPU or Triton's on a GPU, and what a command computes in."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
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
# How many a network must have at least on a GPU, where their number is a power of two.
LEAST_CHANNELS = 16

_GPU_DTYPES = (torch.float32, torch.bfloat16)
# Whether `plain_ops` is in force. Of the process: gradients are computed in other threads.
_is_plain = False


class Kernels(Enum):
    """What runs an op or a network."""

    PLAIN = "PyTorch's own operations"
    NATIVE = "the native kernels for CPUs"
    TRITON = "the Triton kernels for GPUs"


@dataclass(frozen=True)
class Backend:
    """Where a network runs, and by what. See `choose_backend`."""

    device: torch.device
    kernels: Kernels


def choose_backend(device: torch.device, dtype: torch.dtype, channels: int, head_width: int) -> Backend:
    """The fastest backend for a network that computes in a dtype on a device.

    A network of a size that the device's kernels lack runs in plain operations, and a line in the log says so once.

    Args:
        channels: C, the width of the network.
        head_width: K, the channels of one head.
    """
    return Backend(device, Kernels.PLAIN) if _is_plain else _chosen(device, dtype, channels, head_width)


@cache
def _chosen(device: torch.device, dtype: torch.dtype, channels: int, head_width: int) -> Backend:
    built = _kernels_on(device, dtype)
    fits = head_width in HEAD_WIDTHS
    if built is Kernels.TRITON:
        fits = fits and channels >= LEAST_CHANNELS and channels & (channels - 1) == 0
    if built is Kernels.PLAIN or fits:
        return Backend(device, built)
    log.warning(
        "%s take heads of 16, 32 or 64 channels%s, not %d channels in heads of %d, so this runs in %s, which take "
        "several times as long; other CHANNELS and HEADS in training avoid it",
        built.value,
        " and a width that is a power of two" if built is Kernels.TRITON else "",
        channels,
        head_width,
        Kernels.PLAIN.value,
    )
    return Backend(device, Kernels.PLAIN)


def kernels_for(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> Kernels:
    """What runs an op on inputs that all lie on one device; head_width: K, where the op has heads."""
    found = {_kernels_on(x.device, x.dtype) for x in inputs}
    fits = len(found) == 1 and head_width in HEAD_WIDTHS and not _is_plain
    return found.pop() if fits else Kernels.PLAIN


@contextmanager
def plain_ops() -> Iterator[None]:
    """Within it, everything runs in PyTorch's own operations: the definitions that kernels are held against."""
    global _is_plain
    before, _is_plain = _is_plain, True
    try:
        yield
    finally:
        _is_plain = before


def _kernels_on(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The kernels that take tensors of a dtype on a device, of sizes that they know."""
    if device.type == "cpu" and dtype == torch.float32 and is_built():
        return Kernels.NATIVE
    if device.type == "cuda" and dtype in _GPU_DTYPES and has_triton():
        return Kernels.TRITON
    return Kernels.PLAIN


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
    if device.type == "cuda" and not has_triton():
        log.warning(
            "there is no Triton, or no C compiler or no headers of Python for it, so this takes many times as long; "
            "`pip install triton`, and see to gcc or clang and to the package python3-dev"
        )
    return device


def compute_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """What to compute in for a configured dtype: on a CPU float32, which is both faster and more precise there."""
    return torch.float32 if device.type == "cpu" else TORCH_DTYPES[dtype]
