"""LayerNorm, token shift and interpolation at the start of both mixers (spec 4, "Layer"): the definition."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Added to the variance in every LayerNorm.
EPS = 1e-5


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
