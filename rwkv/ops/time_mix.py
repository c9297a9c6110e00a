"""The time mixer between its linear maps and the recurrence (spec 4, "Time mixer"): the definition.

wkv.py has the recurrence, and rwkv/model/time_mixer.py the linear maps. The kernels of the whole mixer are time_mix in
cpu/mixers.py and triton/time_mix.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.wkv import WkvInputs

# Least length of a key or value by which it is divided, and the number added to the variance of a GroupNorm.
NORM_CLAMP = 1e-12
GROUP_NORM_EPS = 64e-5


def wkv_inputs(
    r: Tensor,
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
        r: Receptance, [N, C].
        k: Keys, [N, C].
        v: Values, [N, C].
        v0: v of the stream's first layer, [N, C].
        v_mix: Share of v0 before its sigmoid, [N, C]; None in the first layer, where v0 is v.
        a: In-context learning rate before its sigmoid, [N, C].
        d: Decay before its activation, [N, C].
        k_scale: Scale of the keys before its sigmoid, [N, H].
        v_scale: Scale of the values before its sigmoid, [N, H].

    Returns:
        The arguments, [N, C] each; log_decay is float32 or wider.

    Source: Spec 4.
    """
    heads = k_scale.shape[1]
    if v_mix is not None:
        v = v + torch.sigmoid(v_mix) * (v0 - v)
    d = d.to(torch.promote_types(d.dtype, torch.float32))
    k_hat = _unit_by_head(k, heads) * torch.sigmoid(k_scale).unsqueeze(-1)
    scaled_v = _unit_by_head(v, heads) * torch.sigmoid(v_scale).unsqueeze(-1)
    return WkvInputs(
        r=r,
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
