"""Devices and number formats: from the words of a configuration to what torch calls them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch

from rwkv.errors import DeviceError

TORCH_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"bfloat16": torch.bfloat16, "float32": torch.float32})

# A pass of so many rows takes about as long on one thread as on two.
_FEW_ROWS = 64

# Some of torch's messages list all backends there are.
_MOST_LETTERS = 80


def open_device(name: str, threads: int) -> torch.device:
    """The torch device of a name, once it has been seen to work.

    threads: how many CPU threads torch may use; 0 leaves it to torch. Raises DeviceError where the device is not there.
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
            where="DEVICE",
            got=str(error).split("\n", 1)[0][:_MOST_LETTERS],
            expected="one of " + ", ".join(_present_devices()),
            hint='set DEVICE = "cpu" to do without',
        ) from error
    return device


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Few rows on one CPU thread: several would wait for one another longer than they work."""
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
