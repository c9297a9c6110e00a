"""LayerNorm, token shift and interpolation: what both mixers begin with (spec 4, "Token shift" and "Layer")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.kernels import has_native
from rwkv.ops.native import native

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
    if has_native(x):
        normed, *mixed = _TokenMix.apply(x, weight, bias, lerps, source, before)
        return tuple(mixed), normed
    return token_mix_reference(x, weight, bias, lerps, source, before)


def token_mix_reference(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Tensor | None = None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The definition of `token_mix`."""
    normed = F.layer_norm(x, x.shape[-1:], weight, bias, EPS)
    shifted = (normed if before is None else torch.cat([normed, before.to(normed.dtype)]))[source]
    return tuple(normed + lerp * (shifted - normed) for lerp in lerps), normed.detach()


class _TokenMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Any) -> Any:
        x, weight, bias, lerps, source = (part.contiguous() for part in (x, weight, bias, lerps, source))
        kernels, earlier = native(), x[:0] if before is None else before.to(x.dtype).contiguous()
        mixed, normed, statistics = kernels.token_mix_forward(x, weight, bias, lerps, source, earlier, EPS)
        ctx.save_for_backward(x, weight, bias, lerps, source, statistics)
        ctx.mark_non_differentiable(normed)
        ctx.has_before = before is not None
        return normed, *mixed.unbind(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.has_before:
            raise RuntimeError("rows that continue an earlier batch take no gradient")
        of_mixed = [gradient.contiguous() for gradient in gradients[1:]]
        kernels = native()
        return (*kernels.token_mix_backward(*ctx.saved_tensors, of_mixed), None, None)
