"""Tensors on the CPU as arrays of the native kernels and back, without a copy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def array(x: Tensor) -> Array:
    """A view of a dense tensor on the CPU.

    Raises:
        TypeError: It is no such tensor.
        RuntimeError: Its memory was shrunk since it was made.
    """
    view: Array = x.detach().numpy() if x.requires_grad else x.numpy()
    end = (x.storage_offset() + x.numel()) * x.element_size()
    if x.numel() > 0 and end > x.untyped_storage().nbytes():
        raise RuntimeError(f"a tensor {list(x.shape)} has less memory than its sizes need")
    return view


def optional_array(x: Tensor | None) -> Array | None:
    """As `array`; None remains None."""
    return None if x is None else array(x)


def arrays(tensors: Sequence[Tensor]) -> list[Array]:
    """As `array`, for every tensor."""
    return [array(x) for x in tensors]


def tensors(arrays: Sequence[Array]) -> list[Tensor]:
    """Tensors in the memory of arrays."""
    return [torch.from_numpy(x) for x in arrays]
