"""The heads on a GPU: their weights in the form of the kernels, and predictions from chosen rows."""

from typing import cast

from torch import Tensor, nn
from torch.nn.functional import linear

from rwkv.forgetting_curve import FLOOR
from rwkv.model.frozen_weights import once_if_frozen
from rwkv.model.heads import Heads
from rwkv.ops.curve import curve_grid
from rwkv.ops.heads import final_terms, joined_maps
from rwkv.ops.triton.arguments import HeadWeights, HiddenHead, MixtureHead


def ask_heads_fused(
    heads: Heads, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the heads on chosen rows.

    Args:
        heads: The heads.
        x: Contiguous rows before the heads, [N, C].
        ahead_row: Rows whose curves are read, int64 [n].
        elapsed_s: Seconds after these rows, [n].
        imm_row: Rows whose ratings are read, int64 [m].

    Returns:
        Recall by the corrected curves, float32 [n], and the rating logits, float32 [m, 4].
    """
    from rwkv.ops.triton.heads import rating_logits_at_rows, recall_at_rows  # Triton exists only with a GPU

    weights = head_weights(heads)
    p_ahead = recall_at_rows(x, ahead_row, elapsed_s, weights, curve_grid(x.device), FLOOR)
    return p_ahead, rating_logits_at_rows(x, imm_row, weights)


@once_if_frozen
def head_weights(heads: Heads) -> HeadWeights:
    """The weights of all heads in the form of the kernels."""
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
    """The head of the mixture; the norm's weight and the two linear maps after the hidden layer are joined to one."""
    first, inner = cast(nn.Linear, heads.head_w[0]), cast(nn.Linear, heads.head_w[4])
    norm, final = cast(nn.LayerNorm, heads.head_w[2]), heads.w_linear
    dtype = final.weight.dtype
    weight, bias = joined_maps(inner.weight, inner.bias, final.weight, final.bias)
    bias = linear(norm.bias.to(dtype), weight, bias)
    weight = weight * norm.weight.to(dtype)
    return MixtureHead(first.weight, first.bias, final_terms(weight, first.weight.dtype), bias, weight.sum(1))
