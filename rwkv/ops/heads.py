"""The maps of the heads (spec 4): rows in the dtype of the network, final maps in full precision.

The definitions are the plain forms below; the kernels are triton/head_maps.py. There, rows are multiplied by all bits
of the final maps, and gradients of logits have the dtype of the rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.backend import Kernels, kernels_for


def linear(x: Tensor, W: Tensor, bias: Tensor) -> Tensor:
    """W x + bias of rows x [N, in], with W [out, in]."""
    return _Linear.apply(x, W, bias) if kernels_for(x) is Kernels.TRITON else F.linear(x, W, bias)


def hidden_head(x: Tensor, W: Tensor, bias: Tensor, final: Tensor, final_bias: Tensor) -> Tensor:
    """final relu(W x + bias) + final_bias, [N, outputs], of rows x [N, C], in the dtype of `final`."""
    if kernels_for(x) is Kernels.TRITON:
        return _HiddenHead.apply(x, W, bias, final, final_bias)
    return F.linear(F.relu(F.linear(x, W, bias)).to(final.dtype), final, final_bias)


def two_maps(x: Tensor, inner: Tensor, inner_bias: Tensor, final: Tensor, final_bias: Tensor) -> Tensor:
    """final (inner x + inner_bias) + final_bias, [N, outputs], of rows x [N, C], in the dtype of `final`."""
    if kernels_for(x) is Kernels.TRITON:
        return _PreciseMap.apply(x, *joined_maps(inner, inner_bias, final, final_bias))
    return F.linear(F.linear(x, inner, inner_bias).to(final.dtype), final, final_bias)


def joined_maps(inner: Tensor, inner_bias: Tensor, final: Tensor, final_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the map final (inner x + inner_bias) + final_bias, in the dtype of `final`."""
    return final @ inner.to(final.dtype), F.linear(inner_bias.to(final.dtype), final, final_bias)


def final_terms(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Split a float32 map [outputs, inputs] into a sum of terms [terms, outputs, inputs] in another dtype.

    A float32 number is the sum of three bfloat16 numbers, so products with bfloat16 rows lose no precision.
    """
    if dtype == weight.dtype:
        return weight[None]
    high = weight.to(dtype)
    middle = (weight - high).to(dtype)
    return torch.stack([high, middle, (weight - high - middle).to(dtype)])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, W)
        ctx.dtype = bias.dtype
        return F.linear(x, W, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.head_maps import column_sums  # Triton exists only with a GPU

        x, W = ctx.saved_tensors
        grad = gradients[0].contiguous()
        of_x = grad @ W if ctx.needs_input_grad[0] else None
        return of_x, grad.T @ x, column_sums(grad, ctx.dtype)


class _HiddenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor, final: Tensor, final_bias: Tensor) -> Tensor:
        from rwkv.ops.triton.head_maps import head_logits

        x, terms = x.contiguous(), final_terms(final, x.dtype)
        ctx.save_for_backward(x, W, bias, terms[0])
        return head_logits(x, W, bias, terms, final_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton.head_maps import hidden_backward

        x, W, bias, final = ctx.saved_tensors
        of_logits, of_final_bias = _rounded(gradients[0], x.dtype)
        *others, of_final = hidden_backward(x, W, bias, final, of_logits)
        return *others, of_final.to(of_final_bias.dtype), of_final_bias


class _PreciseMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, final: Tensor, final_bias: Tensor) -> Tensor:
        from rwkv.ops.triton.head_maps import head_logits

        x, terms = x.contiguous(), final_terms(final, x.dtype)
        ctx.save_for_backward(x, terms[0])
        return head_logits(x, None, None, terms, final_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, final = ctx.saved_tensors
        of_logits, of_bias = _rounded(gradients[0], x.dtype)
        return of_logits @ final, (of_logits.T @ x).to(of_bias.dtype), of_bias


def _rounded(of_logits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The gradient of logits in a dtype, and its sums over rows in its own."""
    from rwkv.ops.triton.head_maps import column_sums

    of_logits = of_logits.contiguous()
    if dtype == of_logits.dtype:
        return of_logits, column_sums(of_logits, dtype)
    rounded = of_logits.new_empty(of_logits.shape, dtype=dtype)
    return rounded, column_sums(of_logits, of_logits.dtype, rounded)
