"""The channel mixer (spec 4, "Layer"): its weights and its definition.

The kernels are channel_mix in cpu/mixers.py and triton/channel_mix.py.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.shift import token_mix


class ChannelWeights(NamedTuple):
    """The weights of a channel mixer: norm_weight, norm_bias and lerp [C], W_k [inner, C] and W_v [C, inner]."""

    norm_weight: Tensor
    norm_bias: Tensor
    lerp: Tensor
    W_k: Tensor
    W_v: Tensor


def channel_mix_reference(
    x: Tensor, weights: ChannelWeights, source: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run a channel mixer: W_v relu(W_k m)^2 of the interpolated rows m.

    Args:
        x: Rows, [N, C].
        weights: The weights.
        source: The row from which each row takes its shift, see `token_mix`.
        before: Normalised rows of an earlier batch, see `token_mix`.

    Returns:
        The output [N, C], and the normalised x [N, C], which takes no gradient.

    Source: Spec 4.
    """
    (mixed,), normed = token_mix(x, weights.norm_weight, weights.norm_bias, weights.lerp[None], source, before)
    return F.linear(relu_square(F.linear(mixed, weights.W_k)), weights.W_v), normed


def relu_square(x: Tensor) -> Tensor:
    """max(0, x)^2; only x is kept for the gradient."""
    return _ReluSquare.apply(x)


class _ReluSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0).square_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x.clamp(min=0).mul_(gradients[0]).mul_(2)
