"""The WKV recurrence by the native CPU kernel: row by row within a head of a group, exact, with gradients."""

from typing import Any

import torch
from torch import Tensor

from rwkv.native.recurrence import WkvRows, wkv_backward, wkv_forward
from rwkv.ops.cpu.tensors import array, arrays, optional_array, tensors
from rwkv.ops.cpu.threads import threads
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
    out, last = _Recurrence.apply(first, groups.offsets, groups.is_query, r, log_decay, k_hat, v, b)
    return out, last.mT


class _Recurrence(torch.autograd.Function):
    """States are transposed: [G, H, K (key), K (value)]."""

    @staticmethod
    def forward(ctx: Any, first: Tensor | None, offsets: Tensor, is_query: Tensor, *rows: Tensor) -> Any:
        first, keep = None if first is None else first.contiguous(), any(ctx.needs_input_grad)
        rows = tuple(x.contiguous() for x in rows)
        groups = array(offsets), array(is_query), optional_array(first)
        out, last, checkpoints = tensors(wkv_forward(WkvRows(*arrays(rows)), *groups, keep, threads()))
        ctx.save_for_backward(first, offsets, is_query, checkpoints, *rows)
        return out, last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, offsets, is_query, checkpoints, *rows = ctx.saved_tensors
        grad_out, grad_final = (array(gradient.contiguous()) for gradient in gradients)
        groups = array(offsets), array(is_query), optional_array(first)
        gradients_after = array(checkpoints), grad_out, grad_final
        grads = tensors(wkv_backward(WkvRows(*arrays(rows)), *groups, *gradients_after, threads()))
        return grads[5] if ctx.needs_input_grad[0] else None, None, None, *grads[:5]
