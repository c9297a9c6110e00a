"""A whole channel mixer by the native CPU kernel: blocks of rows that stay in cache.

What it computes is defined by rwkv/model/channel_mixer.py in plain ops, which run everywhere else.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwkv.ops.native import native


def channel_mix(
    x: Tensor, weights: Sequence[Tensor], source: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The channel mixer's output [N, C] and normalised x [N, C], which takes no gradient.

    x: [N, C], float32 on the CPU, where `has_native`. weights: weight and bias of the LayerNorm, lerp [C], W_k, W_v.
    source, before: see `token_mix`; nothing takes a gradient where rows continue an earlier batch.
    """
    y, normed = _ChannelMix.apply(x, source, before, *weights)
    return y, normed


class _ChannelMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, before: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
        x, source = x.contiguous(), source.contiguous()
        weights = tuple(weight.contiguous() for weight in weights)
        earlier = x[:0] if before is None else before.contiguous()
        y, normed, h, statistics = native().channel_mix_forward(x, weights, source, earlier)
        ctx.mark_non_differentiable(normed)
        ctx.goes_on = before is not None
        ctx.save_for_backward(x, source, h, statistics, *weights)
        return y, normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.goes_on:
            raise RuntimeError("rows that continue an earlier batch take no gradient")
        x, source, h, statistics, *weights = ctx.saved_tensors
        of_x, *of_weights = native().channel_mix_backward(x, weights, source, h, statistics, gradients[0].contiguous())
        return (of_x, None, None, *of_weights)
