"""Devices and number formats of torch, by their names in a configuration."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch

from rwkv.errors import DeviceError, RwkvError

TORCH_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"bfloat16": torch.bfloat16, "float32": torch.float32})

# Up to this many rows, a pass is about as fast on one thread as on two.
_FEW_ROWS = 64

# Some messages of torch list every backend.
_MOST_LETTERS = 80


def open_device(name: str, threads: int, key: str = "DEVICE") -> torch.device:
    """Open a torch device and check that it works.

    Args:
        name: Such as "cpu" or "cuda:1".
        threads: The number of CPU threads for torch; 0 leaves torch's own choice.
        key: The configuration key that names the device, for messages.

    Raises:
        DeviceError: The device does not exist or does not work.
    """
    if threads > 0:
        torch.set_num_threads(threads)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # kernels and graphs run on the current one
    except (RuntimeError, AssertionError, ImportError) as error:
        raise DeviceError(
            f"The device {name!r} cannot be used.",
            where=key,
            got=str(error).split("\n", 1)[0][:_MOST_LETTERS],
            expected="one of " + ", ".join(_present_devices()),
            hint='choose "cpu" to run without it',
        ) from error
    return device


@contextmanager
def memory_errors(hint: str) -> Iterator[None]:
    """Turn the lack of GPU memory into an RwkvError. hint: what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RwkvError("The GPU has too little free memory.", got=str(error).split(". ", 1)[0], hint=hint) from error


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Run a pass of few rows on one CPU thread, where synchronising several would take longer than the work."""
    threads = torch.get_num_threads()
    if rows >= _FEW_ROWS or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _present_devices() -> list[str]:
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
