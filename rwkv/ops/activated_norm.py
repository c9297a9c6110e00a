"""A LayerNorm with what surrounds it in the encoder and in the heads (spec 4): an activation before, dropout after."""

from typing import Any

import torch.autograd
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.dropout import Drop, dropped
from rwkv.ops.shift import EPS

_ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "silu": F.silu}


def activated_norm(x: Tensor, activation: str, weight: Tensor, bias: Tensor, drop: Drop) -> Tensor:
    """drop(LayerNorm(activation(x))).

    Args:
        x: Rows, [N, C].
        activation: "none", "relu" or "silu".
        weight: Weight of the norm, [C].
        bias: Its bias, [C].
        drop: The dropout.
    """
    if kernels_for(x) is Kernels.TRITON:
        return _ActivatedNorm.apply(x, activation, weight, bias, drop)
    return dropped(F.layer_norm(_ACTIVATIONS[activation](x), weight.shape, weight, bias, EPS), drop)


class _ActivatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, weight: Tensor, bias: Tensor, drop: Drop) -> Tensor:
        from rwkv.ops.triton import activated_norm as on_gpu  # Triton exists only with a GPU

        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.activation, ctx.drop = activation, drop
        return on_gpu.activated_norm(x, activation, weight, bias, drop)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton import activated_norm as on_gpu

        x, weight = ctx.saved_tensors
        of_y = gradients[0].contiguous()
        of_x, of_weight, of_bias = on_gpu.activated_norm_backward(x, ctx.activation, weight, ctx.drop, of_y)
        return of_x, None, of_weight, of_bias, None
