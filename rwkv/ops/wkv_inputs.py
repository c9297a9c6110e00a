"""From the time mixer's projections to the arguments of the WKV recurrence (spec 4, "Time mixer")."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NORM_CLAMP = 1e-12


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
