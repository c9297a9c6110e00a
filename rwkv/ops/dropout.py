"""Dropout whose mask is a hash of seed, site and position: the same on every device, and never stored."""

from typing import Any

import torch
from torch import Tensor

from rwkv.ops.gpu import has_triton
from rwkv.ops.native import has_native, native

_MASK = (1 << 32) - 1
_SITE_FACTOR, _INDEX_FACTOR = 0x9E3779B9, 0x9E3779B1
_FIRST_FACTOR, _SECOND_FACTOR = 0x7FEB352D, 0x846CA68B


def hash_dropout(x: Tensor, rate: float, seed: Tensor, site: int) -> Tensor:
    """Zero entries of x with probability `rate` and scale up the others.

    seed: int64 [1], on the device of x, its low 32 bits count. site: a number for each use within a step.
    """
    return _Dropout.apply(x, rate, seed, site)


def dropout_reference(x: Tensor, rate: float, seed: Tensor, site: int) -> Tensor:
    """The definition of `hash_dropout`."""
    key = _mix((seed ^ (site * _SITE_FACTOR)) & _MASK)
    index = torch.arange(x.numel(), device=x.device).view(x.shape)
    hashed = _mix((index * _INDEX_FACTOR + key) & _MASK)
    return torch.where(hashed >= threshold(rate), x * (1 / (1 - rate)), 0)


def threshold(rate: float) -> int:
    """Hashes below it are dropped."""
    return round(rate * (1 << 32))


def _mix(z: Tensor) -> Tensor:
    """A bijective scrambling of 32 bits, held in int64."""
    z = ((z ^ (z >> 16)) * _FIRST_FACTOR) & _MASK
    z = ((z ^ (z >> 15)) * _SECOND_FACTOR) & _MASK
    return z ^ (z >> 16)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float, seed: Tensor, site: int) -> Tensor:
        ctx.rate, ctx.site = rate, site
        ctx.save_for_backward(seed)
        return _apply(x, rate, seed, site)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (seed,) = ctx.saved_tensors
        return _apply(gradients[0], ctx.rate, seed, ctx.site), None, None, None


def _apply(x: Tensor, rate: float, seed: Tensor, site: int) -> Tensor:
    if has_triton(x):
        from rwkv.ops.dropout_triton import dropout_triton  # Triton is there with a GPU only

        return dropout_triton(x.contiguous(), threshold(rate), 1 / (1 - rate), seed, site)
    if has_native(x):
        return native().hash_dropout(x.contiguous(), threshold(rate), 1 / (1 - rate), int(seed) & _MASK, site)
    return dropout_reference(x, rate, seed, site)
