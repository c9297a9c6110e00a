"""Dropout with a mask that is a hash of seed, site and position, the same on every device and never stored."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rwkv.native import dropout
from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.cpu.tensors import array, optional_array
from rwkv.ops.cpu.threads import threads

_MASK = (1 << 32) - 1
_SITE_FACTOR, _INDEX_FACTOR = 0x9E3779B9, 0x9E3779B1
_FIRST_FACTOR, _SECOND_FACTOR = 0x7FEB352D, 0x846CA68B


class Drop(NamedTuple):
    """One use of dropout.

    Attributes:
        rate: Probability of dropping an entry.
        seed: Seed of the mask, int64 [1], see `hash_dropout`; None for no dropout.
        site: Number of the use.
    """

    rate: float
    seed: Tensor | None
    site: int

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a kernel by name."""
        return {"seed": self.seed, "site": self.site, "threshold": threshold(self.rate), "scale": 1 / (1 - self.rate)}


NO_DROP = Drop(0.0, None, 0)


def dropped(x: Tensor, drop: Drop, residual: Tensor | None = None) -> Tensor:
    """drop(x), plus `residual` if there is one."""
    if drop.seed is None:
        return x if residual is None else residual + x
    return hash_dropout(x, drop.rate, drop.seed, drop.site, residual)


def hash_dropout(x: Tensor, rate: float, seed: Tensor, site: int, residual: Tensor | None = None) -> Tensor:
    """Zero entries of x with probability `rate`, scale up the others, then add `residual`.

    Args:
        x: Rows, [..., width].
        rate: At least 0 and below 1.
        seed: int64 [1] on the device of x: the low 32 bits are the seed, and the high 32 bits the number of rows before
            x in the tensor of which it is a part, whose masks it has.
        site: Number of the use within a step.
        residual: A tensor of the shape of x, or None.

    Raises:
        ValueError: The rate or a shape is invalid.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}, expected at least 0 and below 1")
    if seed.shape != (1,):
        raise ValueError(f"seed has shape {tuple(seed.shape)}, expected [1]")
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"residual has shape {tuple(residual.shape)}, x has {tuple(x.shape)}")
    return _Dropout.apply(x, rate, seed, site, residual)


def dropout_reference(x: Tensor, rate: float, seed: Tensor, site: int, residual: Tensor | None = None) -> Tensor:
    """The definition of `hash_dropout`."""
    key = _mix((seed ^ (site * _SITE_FACTOR)) & _MASK)
    index = (seed >> 32) * x.shape[-1] + torch.arange(x.numel(), device=x.device).view(x.shape)
    hashed = _mix((index * _INDEX_FACTOR + key) & _MASK)
    kept = torch.where(hashed >= threshold(rate), x * (1 / (1 - rate)), 0)
    return kept if residual is None else residual + kept


def threshold(rate: float) -> int:
    """The number below which hashes are dropped."""
    return round(rate * (1 << 32))


def _mix(z: Tensor) -> Tensor:
    """Scramble 32-bit numbers bijectively; they are stored in int64."""
    z = ((z ^ (z >> 16)) * _FIRST_FACTOR) & _MASK
    z = ((z ^ (z >> 15)) * _SECOND_FACTOR) & _MASK
    return z ^ (z >> 16)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float, seed: Tensor, site: int, residual: Tensor | None) -> Tensor:
        ctx.rate, ctx.site, ctx.has_residual = rate, site, residual is not None
        ctx.save_for_backward(seed)
        return _apply(x, rate, seed, site, residual)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (seed,) = ctx.saved_tensors
        grad_residual = gradients[0] if ctx.has_residual else None
        return _apply(gradients[0], ctx.rate, seed, ctx.site, None), None, None, None, grad_residual


def _apply(x: Tensor, rate: float, seed: Tensor, site: int, residual: Tensor | None) -> Tensor:
    residual = None if residual is None else residual.contiguous()
    kernels = kernels_for(x)
    if kernels is Kernels.NATIVE:
        given = array(x.contiguous()), threshold(rate), 1 / (1 - rate), array(seed), site, optional_array(residual)
        return torch.from_numpy(dropout.hash_dropout(*given, threads()))
    if kernels is Kernels.TRITON:
        from rwkv.ops.triton.dropout import hash_dropout as on_gpu  # Triton exists only with a GPU

        return on_gpu(x.contiguous(), Drop(rate, seed, site), residual)
    return dropout_reference(x, rate, seed, site, residual)
