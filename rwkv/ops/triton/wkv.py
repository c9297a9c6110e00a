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
    """The same as `wkv`, with gradients to all inputs, over groups planned by `plan_runs`.

    r, log_decay, k_hat, v, b: [N, H, K], bfloat16 or float32 (each its own), K 16, 32 or 64; log_decay at least -5.
    initial_state: float32 [G, H, K (value), K (key)], zero if None. Returns (out in the dtype of r, final_state).
    Products round as tuning.py says if r is bfloat16; else all is float32. The same bits every time.
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
    """x, contiguous and aligned as the kernels read it."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
