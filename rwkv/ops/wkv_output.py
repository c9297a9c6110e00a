"""From what the WKV recurrence reads to the time mixer's gated output (spec 4, "Time mixer")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.kernels import has_native
from rwkv.ops.native import native

GROUP_NORM_EPS = 64e-5


def wkv_output(
    out: Tensor, r: Tensor, v: Tensor, b: Tensor, gate: Tensor, bonus: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """gate * (GroupNorm(out) + (sum over the head of r * bonus * b) * v), [N, C].

    out, r, v, b, gate: [N, C], heads side by side. bonus: [H, K]. weight, bias: [C], of the GroupNorm with a group a
    head. Source: spec 4.
    """
    if has_native(out, r, v, b, gate, head_width=bonus.shape[1]):
        return _Output.apply(out, r, v, b, gate, bonus, weight, bias)
    return wkv_output_reference(out, r, v, b, gate, bonus, weight, bias)


def wkv_output_reference(
    out: Tensor, r: Tensor, v: Tensor, b: Tensor, gate: Tensor, bonus: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """The definition of `wkv_output`."""
    heads = len(bonus)
    share = (r * bonus.flatten() * b).unflatten(1, (heads, -1)).sum(-1, keepdim=True)
    extra = (share * v.unflatten(1, (heads, -1))).flatten(1)
    return gate * (F.group_norm(out, heads, weight, bias, GROUP_NORM_EPS) + extra)


class _Output(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        inputs = tuple(x.contiguous() for x in inputs)
        ctx.save_for_backward(*inputs)
        return native().wkv_output_forward(*inputs, GROUP_NORM_EPS)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        kernels = native()
        return tuple(kernels.wkv_output_backward(*ctx.saved_tensors, gradients[0].contiguous(), GROUP_NORM_EPS))
