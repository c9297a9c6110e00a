"""LayerNorm, token shift and interpolation: what both mixers begin with (spec 4, "Token shift" and "Layer")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.native import has_native, native

EPS = 1e-5


def token_mix(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """m_j = x' + lerp_j (s - x') for each of J interpolations, where x' = LayerNorm(x) and s is the shifted x'.

    x: [N, C]. weight, bias: [C], of the LayerNorm. lerps: [J, C]. source: int64 [N], the row whose x' each row is
    shifted to, or N + i for row i of `before` [M, C], which holds normalised rows of an earlier batch and takes no
    gradient. A group's rows are contiguous, and no row's source comes after it.
    Returns (m [J, N, C], x' [N, C]; x' takes no gradient).
    """
    if has_native(x):
        return _NativeTokenMix.apply(x, weight, bias, lerps, source, before)
    return token_mix_reference(x, weight, bias, lerps, source, before)


def token_mix_reference(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition of `token_mix`."""
    normed = F.layer_norm(x, x.shape[-1:], weight, bias, EPS)
    shifted = (normed if before is None else torch.cat([normed, before.to(normed.dtype)]))[source]
    return normed + lerps[:, None] * (shifted - normed), normed.detach()


class _NativeTokenMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Any) -> Any:
        x = x.contiguous()
        earlier = x[:0] if before is None else before.contiguous()
        lerps = lerps.contiguous()
        mixed, normed, statistics = native().token_mix_forward(x, weight, bias, lerps, source, earlier, EPS)
        ctx.save_for_backward(x, weight, bias, lerps, source, statistics)
        ctx.mark_non_differentiable(normed)
        ctx.has_before = before is not None
        return mixed, normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.has_before:
            raise RuntimeError("rows that continue an earlier batch take no gradient")
        return (*native().token_mix_backward(*ctx.saved_tensors, gradients[0].contiguous()), None, None)
