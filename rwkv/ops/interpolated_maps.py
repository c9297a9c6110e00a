"""The maps of a time mixer side by side, so that one product serves all of its interpolations.

The interpolation m = x' + lerp (s - x') of rwkv/ops/shift.py makes a map W of m the map [W | W lerp] of [x' | s - x'].
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwkv.ops.backend import Kernels, kernels_for


def interpolated_maps(weights: Sequence[Tensor], lerp: Tensor, number: Tensor) -> Tensor:
    """The maps [W | W lerp], [D, 2 C].

    Args:
        weights: The maps, [rows, C] each, D rows in all.
        lerp: The interpolations, [lerps, C].
        number: The interpolation of each row, int32 [D].
    """
    if kernels_for(lerp) is Kernels.TRITON:
        return _InterpolatedMaps.apply(lerp, number, *weights)
    weight = torch.cat(list(weights))
    return torch.cat([weight, weight * lerp[number]], 1)


def block_diagonal(maps: Sequence[Tensor]) -> Tensor:
    """The three or four maps [C, rank] of hidden columns as diagonal blocks, [3 C or 4 C, ranks], without gradients."""
    maps = [part.detach().contiguous() for part in maps]
    if kernels_for(*maps) is Kernels.TRITON:
        from rwkv.ops.triton import interpolated_maps as on_gpu  # Triton exists only with a GPU

        return on_gpu.block_diagonal(maps)
    return torch.block_diag(*maps)


class _InterpolatedMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lerp: Tensor, number: Tensor, *weights: Tensor) -> Tensor:
        from rwkv.ops.triton import interpolated_maps as on_gpu  # Triton exists only with a GPU

        W, lerp = torch.cat(weights), lerp.contiguous()
        ctx.save_for_backward(W, lerp, number)
        ctx.rows = [len(weight) for weight in weights]
        return on_gpu.interpolated_maps(W, lerp, number)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton import interpolated_maps as on_gpu

        W, lerp, number = ctx.saved_tensors
        of_W, of_lerp = on_gpu.interpolated_maps_backward(W, lerp, number, gradients[0].contiguous())
        return of_lerp, None, *of_W.split(ctx.rows)
