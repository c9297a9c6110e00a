"""The WKV op on a GPU, as one autograd function over the Triton kernels."""

from typing import Any

import torch
from torch import Tensor

from rwkv.ops.triton.run_plan import RunPlan
from rwkv.ops.triton.wkv_backward import wkv_backward
from rwkv.ops.triton.wkv_forward import Kept, wkv_forward


def wkv_triton(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    plan: RunPlan,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `wkv` on a GPU over groups planned by `plan_runs`, with gradients to all inputs, deterministically.

    If r is bfloat16, products round as tuning.py describes; otherwise everything is float32.

    Args:
        r: [N, H, K] with K of 16, 32 or 64; like the next four, bfloat16 or float32, each independently.
        log_decay: [N, H, K], at least -5.
        k_hat: [N, H, K].
        v: [N, H, K].
        b: [N, H, K].
        plan: The run plan of the groups.
        initial_state: float32 [G, H, K (value), K (key)]; zero if None.

    Returns:
        The output in the dtype of r, and the final states.
    """
    if initial_state is not None:
        initial_state = initial_state.float()
    return _WKV.apply(r, log_decay, k_hat, v, b, initial_state, plan)


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, initial_state, plan = arguments
        inputs = tuple(_aligned(x) for x in tensors)
        initial_state = None if initial_state is None else _aligned(initial_state)
        training = any(ctx.needs_input_grad)
        out, final_state, kept = wkv_forward(inputs, plan, initial_state, plan.groups, keep=training)
        if training:
            ctx.plan = plan
            ctx.save_for_backward(*inputs, kept.inverse, kept.transition, kept.states)
            ctx.set_materialize_grads(False)
        return out, final_state

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, inverse, transition, states = ctx.saved_tensors
        grad_out, grad_final = gradients
        grad_out = torch.zeros_like(inputs[0]) if grad_out is None else _aligned(grad_out)
        grad_final = None if grad_final is None else _aligned(grad_final)
        kept = Kept(inverse, transition, states, None)
        r, log_decay, k_hat, v, b = inputs
        like = torch.empty_like
        grads = (torch.zeros_like(r), like(log_decay), like(k_hat), torch.zeros_like(v), torch.zeros_like(b))
        needs_initial = ctx.needs_input_grad[5]
        grad_initial = wkv_backward(tuple(inputs), ctx.plan, kept, grad_out, grad_final, grads, needs_initial)
        return *grads, grad_initial, None


def _aligned(x: Tensor) -> Tensor:
    """x, contiguous and aligned for the kernels."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
