"""The choice of kernels for a device, dtype and size: native on a CPU, Triton on a GPU, or plain PyTorch."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from rwkv.device import TORCH_DTYPES, open_device
from rwkv.native.library import HEAD_WIDTHS as HEAD_WIDTHS
from rwkv.native.library import is_built
from rwkv.ops.cpu.threads import native_threads
from rwkv.runtime import log

_GPU_DTYPES = (torch.float32, torch.bfloat16)
# Whether `plain_ops` is active, in the whole process, since gradients are computed in other threads.
_is_plain = False


class Kernels(Enum):
    """The kinds of kernels."""

    PLAIN = "PyTorch's own operations"
    NATIVE = "the native kernels for CPUs"
    TRITON = "the Triton kernels for GPUs"


@dataclass(frozen=True)
class Backend:
    """The device, the kernels and the dtype of a network, see `choose_backend`."""

    device: torch.device
    kernels: Kernels
    dtype: torch.dtype = torch.float32

    def threads(self) -> AbstractContextManager[None]:
        """A context in which the threads belong to the kernels, if they have their own, see `native_threads`."""
        return native_threads() if self.kernels is Kernels.NATIVE else nullcontext()


def choose_backend(device: torch.device, dtype: torch.dtype, channels: int, head_width: int) -> Backend:
    """The fastest backend for a network.

    A network of a size that the kernels do not support runs in plain operations, with one warning in the log.

    Args:
        device: Device of the network.
        dtype: The dtype in which it computes.
        channels: C.
        head_width: K, the channels of a head.
    """
    return Backend(device, Kernels.PLAIN, dtype) if _is_plain else _chosen(device, dtype, channels, head_width)


@cache
def _chosen(device: torch.device, dtype: torch.dtype, channels: int, head_width: int) -> Backend:
    built = _kernels_on(device, dtype)
    if built is Kernels.PLAIN or head_width in HEAD_WIDTHS:
        return Backend(device, built, dtype)
    log.warning(
        "%s support heads of 16, 32 or 64 channels, not %d channels in heads of %d, so this runs in %s, which take "
        "several times as long; train with other CHANNELS and HEADS to avoid this",
        built.value,
        channels,
        head_width,
        Kernels.PLAIN.value,
    )
    return Backend(device, Kernels.PLAIN, dtype)


def kernels_for(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> Kernels:
    """The kernels of an op for inputs on one device; head_width: K, if the op has heads."""
    candidates = {_kernels_on(x.device, x.dtype) for x in inputs}
    fits = len(candidates) == 1 and head_width in HEAD_WIDTHS and not _is_plain
    return candidates.pop() if fits else Kernels.PLAIN


@contextmanager
def plain_ops() -> Iterator[None]:
    """Run everything inside in PyTorch's own operations, the definitions of the kernels."""
    global _is_plain
    before, _is_plain = _is_plain, True
    try:
        yield
    finally:
        _is_plain = before


def _kernels_on(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The kernels for tensors of a dtype on a device, if the sizes are supported."""
    if device.type == "cpu" and dtype == torch.float32 and is_built():
        return Kernels.NATIVE
    if device.type == "cuda" and dtype in _GPU_DTYPES and has_triton():
        return Kernels.TRITON
    return Kernels.PLAIN


@cache
def has_triton() -> bool:
    """Whether Triton is installed with what a first launch needs, a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and (headers() / "Python.h").is_file() and find_spec("triton") is not None


def headers() -> Path:
    """The folder in which Triton looks for Python's headers."""
    scheme = sysconfig.get_default_scheme()
    return Path(sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme))


def open_compute_device(name: str, threads: int, dtype: str = "float32", key: str = "DEVICE") -> torch.device:
    """Open a device, and warn in the log if its kernels are missing or another dtype than `dtype` is computed in.

    Args:
        name: Name of the device.
        threads: CPU threads of torch; 0 leaves the number to torch.
        dtype: The configured dtype.
        key: The configuration key that names the device, for messages.

    Raises:
        DeviceError: The device is not available.
    """
    device = open_device(name, threads, key)
    if compute_dtype(dtype, device) != TORCH_DTYPES[dtype]:
        log.info("DTYPE %s is many times slower than float32 on a CPU, so this computes in float32", dtype)
    if device.type == "cpu" and not is_built():
        log.warning(
            "the native CPU kernels are not built, so this takes several times as long; install a C++ compiler and run "
            "`pip install --no-build-isolation -e .` again"
        )
    if device.type == "cuda" and not has_triton():
        log.warning(
            "Triton, a C compiler or Python's headers are missing, so this takes many times as long; run "
            "`pip install triton`, and install gcc or clang and the package python3-dev"
        )
    return device


def compute_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in for a configured one; always float32 on a CPU, where it is faster and more precise."""
    return torch.float32 if device.type == "cpu" else TORCH_DTYPES[dtype]
