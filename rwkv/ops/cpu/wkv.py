"""The WKV recurrence by the native CPU kernel: row by row within a head of a group, exact, with gradients."""

from typing import Any

import torch
from torch import Tensor

from rwkv.ops.cpu.native import native
from rwkv.ops.groups import PackedGroups


def wkv_native(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    groups: PackedGroups,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `wkv_reference` by the native kernel; `kernels_for` must be NATIVE.

    r, log_decay, k_hat, v and b are [N, H, K], initial_state is [G, H, K (value), K (key)] or None for zero; returns
    out [N, H, K] and final_state [G, H, K, K].
    """
    first = None if initial_state is None else initial_state.mT
    out, last = _Recurrence.apply(r, log_decay, k_hat, v, b, first, groups.offsets, groups.is_query)
    return out, last.mT


class _Recurrence(torch.autograd.Function):
    """States are transposed: [G, H, K (key), K (value)]."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> Any:
        r, log_decay, k_hat, v, b, first, offsets, is_query = (None if x is None else x.contiguous() for x in inputs)
        keep = any(ctx.needs_input_grad)
        out, last, checkpoints = native().wkv_forward(r, log_decay, k_hat, v, b, offsets, is_query, first, keep)
        ctx.save_for_backward(r, log_decay, k_hat, v, b, offsets, is_query, first, checkpoints)
        return out, last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grads = native().wkv_backward(*ctx.saved_tensors, *(gradient.contiguous() for gradient in gradients))
        if not ctx.needs_input_grad[5]:
            grads[5] = None
        return (*grads, None, None)
