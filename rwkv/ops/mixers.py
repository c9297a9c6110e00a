"""What the time and the channel mixer are made of, beside the WKV recurrence (spec 4, "Time mixer" and "Layer")."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5

NORM_CLAMP = 1e-12
GROUP_NORM_EPS = 64e-5


def token_mix(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Tensor | None = None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """m_j = x' + lerp_j (s - x') for each of J interpolations, where x' = LayerNorm(x) and s is the shifted x'.

    x: [N, C]. weight, bias: [C], of the LayerNorm. lerps: [J, C]. source: int64 [N], the row whose x' each row is
    shifted to, or N + i for row i of `before` [M, C], which holds normalised rows of an earlier batch and takes no
    gradient. Here a source is the row itself, the row before it, or the source of the row before it: a group's rows
    are contiguous, and each is shifted to the latest of some of them.
    Returns (m: J tensors [N, C]; x' [N, C], which takes no gradient).
    """
    normed = F.layer_norm(x, x.shape[-1:], weight, bias, EPS)
    shifted = (normed if before is None else torch.cat([normed, before.to(normed.dtype)]))[source]
    return tuple(normed + lerp * (shifted - normed) for lerp in lerps), normed.detach()


def relu_square(x: Tensor) -> Tensor:
    """max(0, x)^2, keeping nothing but x for the gradient."""
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


class WkvInputs(NamedTuple):
    """log_decay, k_hat, v and b of the recurrence, [N, C] each, heads side by side."""

    log_decay: Tensor
    k_hat: Tensor
    v: Tensor
    b: Tensor


def wkv_inputs(
    k: Tensor,
    v: Tensor,
    v0: Tensor,
    v_mix: Tensor | None,
    a: Tensor,
    d: Tensor,
    k_scale: Tensor,
    v_scale: Tensor,
) -> WkvInputs:
    """Normalise keys and values by head, mix in the first layer's values, and squash decay, a and scales.

    k, v: [N, C], projections. v0: [N, C], the first layer's v. v_mix, a, d: [N, C], before their squashing; v_mix is
    None in the first layer, where v0 is v. k_scale, v_scale: [N, H], before their sigmoid.
    log_decay is float32 or wider. Source: spec 4.
    """
    heads = k_scale.shape[1]
    if v_mix is not None:
        v = v + torch.sigmoid(v_mix) * (v0 - v)
    d = d.to(torch.promote_types(d.dtype, torch.float32))
    k_hat = _unit_by_head(k, heads) * torch.sigmoid(k_scale).unsqueeze(-1)
    scaled_v = _unit_by_head(v, heads) * torch.sigmoid(v_scale).unsqueeze(-1)
    return WkvInputs(
        log_decay=-torch.exp(-0.5 - F.softplus(-d)),
        k_hat=k_hat.flatten(1),
        v=scaled_v.flatten(1),
        b=torch.sigmoid(a) * k_hat.flatten(1),
    )


def _unit_by_head(x: Tensor, heads: int) -> Tensor:
    return F.normalize(x.unflatten(1, (heads, -1)), dim=-1, eps=NORM_CLAMP)


def wkv_output(
    out: Tensor, r: Tensor, v: Tensor, b: Tensor, gate: Tensor, bonus: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """gate * (GroupNorm(out) + (sum over the head of r * bonus * b) * v), [N, C].

    out, r, v, b, gate: [N, C], heads side by side. bonus: [H, K]. weight, bias: [C], of the GroupNorm with a group a
    head. Source: spec 4.
    """
    heads = len(bonus)
    share = (r * bonus.flatten() * b).unflatten(1, (heads, -1)).sum(-1, keepdim=True)
    extra = (share * v.unflatten(1, (heads, -1))).flatten(1)
    return gate * (F.group_norm(out, heads, weight, bias, GROUP_NORM_EPS) + extra)
