"""Whole mixers by the native CPU kernels, in blocks of rows that fit into the cache and with little kept for gradients.

They are defined by rwkv/ops/time_mix.py within rwkv/model/time_mixer.py, and by rwkv/ops/channel_mix.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwkv.native import mixers
from rwkv.ops.cpu.tensors import array, arrays, optional_array, tensors
from rwkv.ops.cpu.threads import threads
from rwkv.ops.groups import PackedGroups


def time_mix(
    x: Tensor,
    v0: Tensor | None,
    weights: Sequence[Tensor],
    groups: PackedGroups,
    source: Tensor,
    before: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run a time mixer on a NATIVE backend.

    Args:
        x: Rows in places of the stream, float32 [N, C] on the CPU.
        v0: v of the stream's first layer, [N, C]; None in that layer.
        weights: The weights in the order of rwkv/native/csrc/time_mix.h.
        groups: The packed groups.
        source: The row from which each row takes its shift, see `token_mix`.
        before: Normalised rows of an earlier batch, see `token_mix`.
        state: States before the rows, [G, H, K, K]; zero if None.

    Returns:
        The output [N, C], v0 [N, C], the normalised x [N, C], and the states after the rows [G, H, K, K]. The last two
        take no gradient, and rows that continue an earlier batch take none at all.
    """
    y, normed, final, *own_v0 = _TimeMix.apply(x, v0, groups, source, before, state, *weights)
    return y, own_v0[0] if v0 is None else v0, normed, final


class _TimeMix(torch.autograd.Function):
    """States are transposed: [G, H, K (key), K (value)]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        v0: Tensor | None,
        groups: PackedGroups,
        source: Tensor,
        before: Tensor | None,
        state: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        x, v0 = x.contiguous(), None if v0 is None else v0.contiguous()
        weights = tuple(weight.contiguous() for weight in weights)
        earlier = x[:0] if before is None else before.contiguous()
        first = None if state is None else state.mT.contiguous()
        source, offsets, is_query = source.contiguous(), groups.offsets, groups.is_query
        keep = any(ctx.needs_input_grad)
        done = mixers.time_mix_forward(
            array(x),
            optional_array(v0),
            arrays(weights),
            array(source),
            array(earlier),
            array(offsets),
            array(is_query),
            optional_array(first),
            keep,
            threads(),
        )
        y, normed, last, *kept = tensors([done.y, done.normed, done.final, *done.kept])
        final, first_v0 = last.mT, () if v0 is not None else (kept[mixers.V],)
        ctx.mark_non_differentiable(normed, final)
        if keep:
            ctx.save_for_backward(x, v0, source, earlier, offsets, is_query, *kept, *weights)
            ctx.kept, ctx.goes_on = len(kept), before is not None or state is not None
            ctx.set_materialize_grads(False)
        return y, normed, final, *first_v0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if ctx.goes_on:
            raise RuntimeError("rows that continue an earlier batch take no gradient")
        x, v0, source, earlier, offsets, is_query, *others = ctx.saved_tensors
        kept, weights = others[: ctx.kept], others[ctx.kept :]
        grad_y = torch.zeros_like(x) if gradients[0] is None else gradients[0].contiguous()
        grad_v = None if len(gradients) < 4 or gradients[3] is None else gradients[3].contiguous()
        done = mixers.time_mix_backward(
            array(x),
            optional_array(v0),
            arrays(weights),
            array(source),
            array(earlier),
            array(offsets),
            array(is_query),
            arrays(kept),
            array(grad_y),
            optional_array(grad_v),
            threads(),
        )
        grad_x, grad_v0, *grad_weights = tensors(done)
        return (grad_x, None if v0 is None else grad_v0, None, None, None, None, *grad_weights)


def channel_mix(
    x: Tensor, weights: Sequence[Tensor], source: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run a channel mixer on a NATIVE backend.

    Args:
        x: Rows in places of the stream, float32 [N, C] on the CPU.
        weights: Weight and bias of the LayerNorm, lerp [C], W_k and W_v.
        source: The row from which each row takes its shift, see `token_mix`.
        before: Normalised rows of an earlier batch, see `token_mix`.

    Returns:
        The output [N, C] and the normalised x [N, C], which takes no gradient. Rows that continue an earlier batch take
        none at all.
    """
    y, normed = _ChannelMix.apply(x, source, before, *weights)
    return y, normed


class _ChannelMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, before: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
        x, source = x.contiguous(), source.contiguous()
        weights = tuple(weight.contiguous() for weight in weights)
        earlier = x[:0] if before is None else before.contiguous()
        done = mixers.channel_mix_forward(array(x), arrays(weights), array(source), array(earlier), threads())
        y, normed, h, statistics = tensors(done)
        ctx.mark_non_differentiable(normed)
        ctx.goes_on = before is not None
        ctx.save_for_backward(x, source, h, statistics, *weights)
        return y, normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.goes_on:
            raise RuntimeError("rows that continue an earlier batch take no gradient")
        x, source, h, statistics, *weights = ctx.saved_tensors
        kept = array(source), array(h), array(statistics)
        grad_y = array(gradients[0].contiguous())
        done = mixers.channel_mix_backward(array(x), arrays(weights), *kept, grad_y, threads())
        grad_x, *grad_weights = tensors(done)
        return (grad_x, None, None, *grad_weights)
