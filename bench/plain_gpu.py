"""The baseline on a GPU: the network in PyTorch's own ops, as where there is no Triton."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def plain_gpu() -> Iterator[None]:
    """Within it, forward and backward passes of every network run without our kernels for GPUs."""
    with patch("rwkv.ops.kernels.has_triton", return_value=False):
        yield
