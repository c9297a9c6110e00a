"""The threads of the native kernels beside those of PyTorch's own operations."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The threads of the native kernels within `native_threads`, in the whole process.
_count: int | None = None


def threads() -> int:
    """Most threads of a native kernel."""
    return torch.get_num_threads() if _count is None else _count


@contextmanager
def native_threads() -> Iterator[None]:
    """Give all threads to the native kernels and one to PyTorch's own operations.

    PyTorch's threads keep their cores busy for milliseconds after each operation, so two sets of threads would take the
    cores from each other.
    """
    global _count
    before, outer = _count, torch.get_num_threads()
    if before is not None or outer == 1:
        yield
        return
    _count = outer
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _count = before
        torch.set_num_threads(outer)
