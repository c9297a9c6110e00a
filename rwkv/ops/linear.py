"""A linear map with bias whose bias gradient is one pass over the rows on a GPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.kernels import has_kernels, kernels_for


def biased_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b. x: [N, C]; weight: [D, C]; bias: [D]. Returns [N, D]."""
    if x.is_cuda and has_kernels(x, weight, bias):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        grad = gradients[0].contiguous()
        return grad @ weight, grad.T @ x, kernels_for(grad, "linear").column_sums(grad)
