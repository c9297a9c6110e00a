"""Reordering rows, with a gradient that is a reordering too."""

from typing import Any

import torch
from torch import Tensor


def permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """x[order] for x [N, ...] and a permutation with its inverse, int64 [N]."""
    return _Permute.apply(x, order, inverse)


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        return gradients[0].index_select(0, inverse), None, None
