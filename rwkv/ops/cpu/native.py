"""Access to the native CPU kernels (rwkv/ops/cpu/csrc); no other file uses torch.ops."""

import importlib
from functools import cache
from typing import Any

import torch

from rwkv.runtime import log

_OPS = (
    "channel_mix_backward",
    "channel_mix_forward",
    "curve_recall",
    "hash_dropout",
    "network_step",
    "time_mix_backward",
    "time_mix_forward",
    "wkv_backward",
    "wkv_forward",
)


@cache
def is_built() -> bool:
    """Whether the extension is built and loads; without it everything runs in PyTorch."""
    try:
        importlib.import_module("rwkv._native")
    except ImportError:
        return False
    if not all(hasattr(native(), name) for name in _OPS):
        command = "pip install --no-build-isolation -e ."
        log.warning("the native kernels are older than the code, so PyTorch runs instead; rebuild them: %s", command)
        return False
    return True


def native() -> Any:
    """The registered operators."""
    return torch.ops.rwkv
