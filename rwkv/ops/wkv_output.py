"""From what the WKV recurrence reads to the time mixer's gated output (spec 4, "Time mixer")."""

import torch.nn.functional as F
from torch import Tensor

GROUP_NORM_EPS = 64e-5


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
