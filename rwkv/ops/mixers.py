"""The parts of the time and channel mixers except the WKV recurrence (spec 4, "Time mixer" and "Layer")."""

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
    """Interpolate rows with their source rows: m_j = x' + lerp_j (s - x'), where x' = LayerNorm(x) and s is x' shifted.

    A source is the row itself, the row before it, or the source of the row before it.

    Args:
        x: Rows, [N, C].
        weight: Weight of the LayerNorm, [C].
        bias: Bias of the LayerNorm, [C].
        lerps: Weights of j interpolations, [j, C].
        source: The row from which each row takes its shift, int64 [N]; N + i stands for row i of `before`.
        before: Normalised rows of an earlier batch, [M, C]; they take no gradient.

    Returns:
        The interpolations, j tensors [N, C], and x' [N, C], which takes no gradient.
    """
    normed = F.layer_norm(x, x.shape[-1:], weight, bias, EPS)
    shifted = (normed if before is None else torch.cat([normed, before.to(normed.dtype)]))[source]
    return tuple(normed + lerp * (shifted - normed) for lerp in lerps), normed.detach()


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


class WkvInputs(NamedTuple):
    """The arguments log_decay, k_hat, v and b of the recurrence, [N, C] each, with the heads' channels in a row."""

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
    """Compute the arguments of the recurrence: normalised keys and values, mixed with v0, and activated decay and a.

    Args:
        k: Keys, [N, C].
        v: Values, [N, C].
        v0: v of the stream's first layer, [N, C].
        v_mix: Share of v0 before its sigmoid, [N, C]; None in the first layer, where v0 is v.
        a: In-context learning rate before its sigmoid, [N, C].
        d: Decay before its activation, [N, C].
        k_scale: Scale of the keys before its sigmoid, [N, H].
        v_scale: Scale of the values before its sigmoid, [N, H].

    Returns:
        The arguments; log_decay is float32 or wider.

    Source: Spec 4.
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
    """The gated output gate * (GroupNorm(out) + (sum over the head of r * bonus * b) * v), [N, C].

    Args:
        out: Output of the recurrence, [N, C].
        r: Receptance, [N, C].
        v: Values, [N, C].
        b: b of the recurrence, [N, C].
        gate: Gate, [N, C].
        bonus: Bonus, [H, K].
        weight: Weight of the GroupNorm, which has one group for each head, [C].
        bias: Bias of the GroupNorm, [C].

    Source: Spec 4.
    """
    heads = len(bonus)
    share = (r * bonus.flatten() * b).unflatten(1, (heads, -1)).sum(-1, keepdim=True)
    extra = (share * v.unflatten(1, (heads, -1))).flatten(1)
    return gate * (F.group_norm(out, heads, weight, bias, GROUP_NORM_EPS) + extra)
