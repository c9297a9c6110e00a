"""Both mixers of a layer on a GPU with their residuals and dropouts, as two autograd functions over Triton kernels.

They are defined by rwkv/model/streams.py in plain ops; tests compare the two.
"""

from typing import Any, cast

import torch
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.arguments import ChannelWeights, RowLayout, TimeWeights

# Number of tensors that a time mixer keeps: the arguments of the recurrence and the gate, then four more.
_ARGUMENTS = 5
_KEPT = _ARGUMENTS + 4


def time_mixing(
    x: Tensor, v0: Tensor | None, weights: TimeWeights, rows: RowLayout, drop: Drop
) -> tuple[Tensor, Tensor]:
    """x + drop(TimeMixer(x)) [N, C] and the stream's v0 [N, C], with gradients, every group from an empty state.

    The argument v0 is None in the stream's first layer.
    """
    if v0 is None:
        return _TimeMixing.apply(x, None, rows, drop, *weights.flat)
    (x,) = _TimeMixing.apply(x, v0, rows, drop, *weights.flat)
    return x, v0


def channel_mixing(x: Tensor, weights: ChannelWeights, source: Tensor, drop: Drop, layer_drop: Drop) -> Tensor:
    """layer_drop(x + drop(ChannelMixer(x))), with gradients."""
    return _ChannelMixing.apply(x, source, drop, layer_drop, *weights)


class _TimeMixing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v0: Tensor | None, rows: RowLayout, drop: Drop, *flat: Any) -> tuple[Tensor, ...]:
        from rwkv.ops.triton.time_mix import TimeKept, time_mix_forward  # Triton exists only with a GPU

        x = x.contiguous()
        result = time_mix_forward(x, v0, TimeWeights.of_flat(flat), rows, drop, keep=True)
        kept = cast(TimeKept, result.kept)
        ctx.save_for_backward(x, v0, kept.y, *kept.arguments, *kept.wkv, *flat)
        ctx.rows, ctx.drop = rows, drop
        ctx.set_materialize_grads(False)
        return (result.x,) if v0 is not None else (result.x, result.v0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.time_mix import TimeKept, time_mix_backward
        from rwkv.ops.triton.wkv_forward import Kept

        x, v0, y, *saved = ctx.saved_tensors
        arguments, of_wkv, flat = saved[:_ARGUMENTS], saved[_ARGUMENTS:_KEPT], saved[_KEPT:]
        of_result, of_v0 = (None if grad is None else grad.contiguous() for grad in (*gradients, None)[:2])
        if of_result is None:
            of_result = torch.zeros_like(x)
        kept = TimeKept(y, tuple(arguments), Kept(*of_wkv))
        of_x, grad_v0, grads = time_mix_backward(
            x, v0, TimeWeights.of_flat(flat), ctx.rows, ctx.drop, kept, of_result, of_v0
        )
        return of_x, grad_v0, None, None, *grads.flat


class _ChannelMixing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, drop: Drop, layer_drop: Drop, *weights: Tensor) -> Tensor:
        from rwkv.ops.triton.channel_mix import channel_mix_forward

        x = x.contiguous()
        ctx.save_for_backward(x, source, *weights)
        ctx.drops = drop, layer_drop
        return channel_mix_forward(x, ChannelWeights(*weights), source, None, drop, layer_drop)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.channel_mix import channel_mix_backward

        x, source, *weights = ctx.saved_tensors
        drop, layer_drop = ctx.drops
        of_z = gradients[0].contiguous()
        of_x, grads = channel_mix_backward(x, ChannelWeights(*weights), source, drop, layer_drop, of_z)
        return of_x, None, None, None, *grads
