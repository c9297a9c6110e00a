"""Both mixers of a layer on a GPU with their residuals and dropouts, as two autograd functions over Triton kernels.

They are defined by rwkv/model/streams.py in plain ops; tests compare the two.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rwkv.ops.channel_mix import ChannelWeights
from rwkv.ops.dropout import Drop
from rwkv.ops.triton.arguments import RowLayout, TimeWeights
from rwkv.pytree import Structure, named_tensors, take_apart


def time_mixing(
    x: Tensor, v0: Tensor | None, weights: TimeWeights, rows: RowLayout, drop: Drop
) -> tuple[Tensor, Tensor]:
    """x + drop(TimeMixer(x)) [N, C] and the stream's v0 [N, C], with gradients, every group from an empty state.

    The argument v0 is None in the stream's first layer.
    """
    tensors, structure = take_apart(weights)
    if v0 is None:
        return _TimeMixing.apply(x, None, rows, drop, structure, *tensors)
    (x,) = _TimeMixing.apply(x, v0, rows, drop, structure, *tensors)
    return x, v0


def channel_mixing(x: Tensor, weights: ChannelWeights, source: Tensor, drop: Drop, layer_drop: Drop) -> Tensor:
    """layer_drop(x + drop(ChannelMixer(x))), with gradients."""
    tensors, structure = take_apart(weights)
    return _ChannelMixing.apply(x, source, drop, layer_drop, structure, *tensors)


class _TimeSaved(NamedTuple):
    """What the backward pass of a time mixer reads; `kept` is a TimeKept."""

    x: Tensor
    v0: Tensor | None
    weights: TimeWeights
    kept: Any


class _TimeMixing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        v0: Tensor | None,
        rows: RowLayout,
        drop: Drop,
        structure: Structure[TimeWeights],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        from rwkv.ops.triton.time_mix import time_mix_forward  # Triton exists only with a GPU

        x, weights = x.contiguous(), structure.filled(tensors)
        result = time_mix_forward(x, v0, weights, rows, drop, keep=True)
        saved, ctx.saved = take_apart(_TimeSaved(x, v0, weights, result.kept))
        ctx.save_for_backward(*saved)
        ctx.rows, ctx.drop, ctx.names = rows, drop, structure.names
        ctx.set_materialize_grads(False)
        return (result.x,) if v0 is not None else (result.x, result.v0)

    @staticmethod
    def backward(ctx: Any, of_result: Tensor | None, of_v0: Tensor | None = None) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.time_mix import time_mix_backward

        saved: _TimeSaved = ctx.saved.filled(ctx.saved_tensors)
        of_result = torch.zeros_like(saved.x) if of_result is None else of_result.contiguous()
        of_v0 = None if of_v0 is None else of_v0.contiguous()
        of_x, grad_v0, of_weights = time_mix_backward(
            saved.x, saved.v0, saved.weights, ctx.rows, ctx.drop, saved.kept, of_result, of_v0
        )
        grads = named_tensors(of_weights)
        return of_x, grad_v0, None, None, None, *(grads.get(name) for name in ctx.names)


class _ChannelMixing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Tensor,
        drop: Drop,
        layer_drop: Drop,
        structure: Structure[ChannelWeights],
        *tensors: Tensor,
    ) -> Tensor:
        from rwkv.ops.triton.channel_mix import channel_mix_forward

        x = x.contiguous()
        ctx.save_for_backward(x, source, *tensors)
        ctx.drop, ctx.layer_drop, ctx.structure = drop, layer_drop, structure
        return channel_mix_forward(x, structure.filled(tensors), source, None, drop, layer_drop)

    @staticmethod
    def backward(ctx: Any, of_z: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.channel_mix import channel_mix_backward

        x, source, *tensors = ctx.saved_tensors
        weights = ctx.structure.filled(tensors)
        of_x, of_weights = channel_mix_backward(x, weights, source, ctx.drop, ctx.layer_drop, of_z.contiguous())
        grads = named_tensors(of_weights)
        return of_x, None, None, None, None, *(grads[name] for name in ctx.structure.names)
