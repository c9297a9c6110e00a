"""The heads run by the kernels for GPUs: their weights in the kernels' form, and what they say of chosen rows."""

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rwkv.model.curve import FLOOR, correction_points, curve_stabilities, log_recall
from rwkv.model.frozen_weights import once_if_frozen
from rwkv.model.heads import Heads
from rwkv.ops.triton.arguments import HeadWeights, HiddenHead, MixtureHead


def ask_heads_fused(
    heads: Heads, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor]:
    """From contiguous last rows x [N, C], float32: recall by the corrected curve [n], and p_logits [m, 4].

    The curve: elapsed_s [n] seconds after rows ahead_row [n]. p_logits: of rows imm_row [m].
    """
    from rwkv.ops.triton.heads import rating_logits_at_rows, recall_at_rows  # Triton is there with a GPU only

    weights = head_weights(heads)
    p_ahead = recall_at_rows(x, ahead_row, elapsed_s, weights, curve_grid(x.device), FLOOR)
    return p_ahead, rating_logits_at_rows(x, imm_row, weights)


@cache
def curve_grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """ln of recall by each curve after a second, float32 [128], and the points of the corrections, float64 [128]."""
    stabilities = curve_stabilities(device)
    return log_recall(torch.ones_like(stabilities), stabilities, torch.float32), correction_points(device)


@once_if_frozen
def head_weights(heads: Heads) -> HeadWeights:
    """All heads as the kernels take them."""
    return HeadWeights(
        norm_weight=heads.prehead_norm.weight,
        norm_bias=heads.prehead_norm.bias,
        mixture=_mixture_head(heads),
        ahead=_hidden_head(cast(nn.Linear, heads.head_ahead_logits[0]), heads.ahead_linear),
        ratings=_hidden_head(cast(nn.Linear, heads.head_p[0]), heads.p_linear),
    )


def _hidden_head(first: nn.Linear, final: nn.Linear) -> HiddenHead:
    return HiddenHead(first.weight, first.bias, final_terms(final.weight, first.weight.dtype), final.bias)


def _mixture_head(heads: Heads) -> MixtureHead:
    """What follows the hidden layer, a norm's weight and two linear maps with nothing between, is one map."""
    first, inner = cast(nn.Linear, heads.head_w[0]), cast(nn.Linear, heads.head_w[4])
    norm, final = cast(nn.LayerNorm, heads.head_w[2]), heads.w_linear
    dtype = final.weight.dtype
    weight = final.weight @ inner.weight.to(dtype)
    bias = linear(norm.bias.to(dtype), weight, linear(inner.bias.to(dtype), final.weight, final.bias))
    weight = weight * norm.weight.to(dtype)
    return MixtureHead(first.weight, first.bias, final_terms(weight, first.weight.dtype), bias, weight.sum(1))


def final_terms(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A float32 map [outputs, inputs] as a sum of terms [terms, outputs, inputs] in the dtype of the rows.

    Three numbers of bfloat16 make one of float32, so products of bfloat16 rows with them lose nothing.
    """
    if dtype == weight.dtype:
        return weight[None]
    high = weight.to(dtype)
    middle = (weight - high).to(dtype)
    return torch.stack([high, middle, (weight - high - middle).to(dtype)])
