"""LayerNorm, token shift and interpolation: what both mixers begin with (spec 4, "Token shift" and "Layer")."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


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
