"""The door to what runs on a GPU only: whether Triton's kernels fit, and functions compiled for it."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])

# How many channels a head may have for the kernels.
HEAD_WIDTHS = (16, 32, 64)


def has_triton(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """Whether there are Triton kernels for these inputs: bfloat16 or float32 on a GPU, heads of one of HEAD_WIDTHS."""
    fit = all(x.is_cuda and x.dtype in (torch.bfloat16, torch.float32) for x in inputs)
    return fit and head_width in HEAD_WIDTHS and _is_there()


@cache
def _is_there() -> bool:
    return find_spec("triton") is not None


@cache
def compiled(function: Function) -> Function:
    """A pure function on tensors, its steps fused by torch.compile; one compilation for all numbers of rows."""
    return torch.compile(function, dynamic=True)  # type: ignore[return-value]
