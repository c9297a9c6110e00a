"""The WKV op on a GPU, as one autograd function over the Triton kernels."""

from typing import Any

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.wkv_backward import wkv_backward
from rwkv.ops.triton.wkv_forward import Kept, wkv_forward
from rwkv.ops.wkv import WkvInputs
from rwkv.pytree import map_tensors, take_apart


def wkv_triton(inputs: WkvInputs, groups: PackedGroups, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run `wkv` on a GPU, with gradients to all inputs, deterministically.

    If r is bfloat16, products round as tuning.py describes; otherwise everything is float32.

    Args:
        inputs: The arguments, [N, H, K] with K of 16, 32 or 64, bfloat16 or float32, each independently; log_decay is
            at least -5.
        groups: The packed groups.
        initial_state: float32 [G, H, K (value), K (key)]; zero if None.

    Returns:
        The output in the dtype of r, and the final states.
    """
    if initial_state is not None:
        initial_state = initial_state.float()
    return _WKV.apply(groups, initial_state, *inputs)


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, groups: PackedGroups, initial_state: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        inputs = map_tensors(_aligned, WkvInputs(*tensors))
        initial_state = None if initial_state is None else _aligned(initial_state)
        training = any(ctx.needs_input_grad)
        out, final_state, kept = wkv_forward(inputs, groups, initial_state, groups.groups, keep=training)
        if training:
            ctx.groups = groups
            saved, ctx.saved = take_apart((inputs, kept))
            ctx.save_for_backward(*saved)
            ctx.set_materialize_grads(False)
        return out, final_state

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs: WkvInputs
        kept: Kept
        inputs, kept = ctx.saved.filled(ctx.saved_tensors)
        grad_out = torch.zeros_like(inputs.r) if grad_out is None else _aligned(grad_out)
        grad_final = None if grad_final is None else _aligned(grad_final)
        grads = WkvInputs(
            r=torch.zeros_like(inputs.r),
            log_decay=torch.empty_like(inputs.log_decay),
            k_hat=torch.empty_like(inputs.k_hat),
            v=torch.zeros_like(inputs.v),
            b=torch.zeros_like(inputs.b),
        )
        _, needs_initial, *_ = ctx.needs_input_grad
        grad_initial = wkv_backward(inputs, ctx.groups, kept, grad_out, grad_final, grads, needs_initial)
        return None, grad_initial, *grads


def _aligned(x: Tensor) -> Tensor:
    """x, contiguous and aligned for the kernels."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
