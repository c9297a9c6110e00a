"""The door to the native CPU kernels (rwkv/ops/csrc): the only file that touches torch.ops."""

import importlib
from functools import cache
from typing import Any

import torch
from torch import Tensor

# How many channels a head may have for the kernels.
HEAD_WIDTHS = (16, 32, 64)


@cache
def is_built() -> bool:
    """Whether the extension was built and loads; without it everything runs in its PyTorch form."""
    try:
        importlib.import_module("rwkv._native")
    except ImportError:
        return False
    return True


def has_native(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """Whether there are kernels for these inputs: float32 on the CPU, heads of one of HEAD_WIDTHS."""
    fit = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in inputs)
    return fit and head_width in HEAD_WIDTHS and is_built()


def native() -> Any:
    """The registered operators."""
    return torch.ops.rwkv
