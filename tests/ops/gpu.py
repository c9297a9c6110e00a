"""For tests of the kernels on a GPU: skipped only where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@contextmanager
def without_kernels() -> Iterator[None]:
    """Within it, all that runs on a GPU runs in PyTorch's own ops, as where there is no Triton."""
    with mock.patch("rwkv.ops.kernels.has_triton", return_value=False):
        yield
