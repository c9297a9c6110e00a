"""Which kernels run an op: the native ones on the CPU, Triton's on a GPU; both have the same functions by name."""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from rwkv.ops.native import is_built, native

# How many channels a head may have for the kernels.
HEAD_WIDTHS = (16, 32, 64)

_DTYPES = {"cpu": (torch.float32,), "cuda": (torch.float32, torch.bfloat16)}


def has_kernels(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """Whether there are kernels for these inputs: float32 on the CPU, also bfloat16 on a GPU, heads of HEAD_WIDTHS."""
    device = inputs[0].device.type
    fit = all(x.device.type == device and x.dtype in _DTYPES.get(device, ()) for x in inputs)
    return fit and head_width in HEAD_WIDTHS and (is_built() if device == "cpu" else has_triton())


def has_native(*inputs: Tensor, head_width: int = HEAD_WIDTHS[0]) -> bool:
    """The same for what has kernels on the CPU only."""
    return inputs[0].device.type == "cpu" and has_kernels(*inputs, head_width=head_width)


def kernels_for(x: Tensor, op: str) -> Any:
    """The functions of an op for the device of x, where `has_kernels`."""
    return importlib.import_module(f"rwkv.ops.{op}_triton") if x.is_cuda else native()


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None
