"""The door to the native CPU kernels (rwkv/ops/csrc): the only file that touches torch.ops."""

import importlib
from functools import cache
from typing import Any

import torch


@cache
def is_built() -> bool:
    """Whether the extension was built and loads; without it everything runs in its PyTorch form."""
    try:
        importlib.import_module("rwkv._native")
    except ImportError:
        return False
    return True


def native() -> Any:
    """The registered operators."""
    return torch.ops.rwkv
