"""WKV over packed groups in matrix form: a few products for each chunk, and a small one between chunks.

With X = S^T, y_t = v_t - X_(t-1)^T k_hat_t and P the decay since the chunk's start, a chunk of T rows obeys
    X_(t-1) = diag(P_(t-1)) X_0 + sum over i < t of (b_i P_(t-1) / P_i) y_i^T,
so y solves a unit lower triangular system, and the state after the chunk is an affine function of the one before it.
Query rows have b = 0 and decay 1, so they read the state without changing it.
"""

from typing import Any

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups


def wkv_chunked(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    groups: PackedGroups,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `wkv_reference` in matrix form in float32 or float64, with gradients to all inputs.

    r, log_decay, k_hat, v and b are [N, H, K], initial_state is [G, H, K (value), K (key)] or None for zero; returns
    out [N, H, K] and final_state [G, H, K, K].
    """
    plan = groups.chunks
    c = (b * r).sum(-1, keepdim=True)
    u = log_decay.exp() * r - k_hat * c
    u_chunk, k_chunk, v_chunk, decay_chunk, b_chunk = (
        x[plan.chunk_row].transpose(1, 2) for x in (u, k_hat, v, log_decay, b)
    )
    writes = plan.writes[:, None, :, None]
    decay_chunk = decay_chunk * writes
    log_p = decay_chunk.cumsum(2)
    p_before = (log_p - decay_chunk).exp()
    b_scaled = b_chunk * writes * (-log_p).exp()
    p_end = log_p[:, :, -1:].exp()

    k_in, u_in = k_chunk * p_before, u_chunk * p_before
    b_columns = b_scaled.transpose(-1, -2)
    system = (k_in @ b_columns).tril(-1)
    solved = torch.linalg.solve_triangular(system, torch.cat([v_chunk, k_in], -1), upper=False, unitriangular=True)
    y_own, y_state = solved.split(v.shape[-1], -1)
    b_end = (b_scaled * p_end).transpose(-1, -2)
    transition = torch.diag_embed(p_end.squeeze(2)) - b_end @ y_state
    addition = b_end @ y_own

    shape = (groups.groups, *addition.shape[1:])
    first = r.new_zeros(shape) if initial_state is None else initial_state.transpose(-1, -2)[plan.group_order]
    states, last = _ChunkScan.apply(transition, addition, first, plan.chunks_of_step)

    read = (u_in @ b_columns).tril(-1)
    out = u_in @ states + read @ (y_own - y_state @ states)
    out = out.transpose(1, 2).reshape(-1, *r.shape[1:])[plan.place] + c * v
    final = torch.empty_like(last).index_copy(0, plan.group_order, last)
    return out, final.transpose(-1, -2)


class _ChunkScan(torch.autograd.Function):
    """The state before each chunk, where the state after a chunk is transition @ state + addition."""

    @staticmethod
    def forward(ctx: Any, transition: Tensor, addition: Tensor, first: Tensor, counts: tuple[int, ...]) -> Any:
        shape = addition.shape[1:]
        transition, addition = transition.flatten(0, 1), addition.flatten(0, 1)
        heads = shape[0]
        states = torch.empty_like(addition)
        last = first.reshape(-1, *shape[1:]).clone()
        start = 0
        for count in counts:
            n = count * heads
            chunk = slice(start, start + n)
            states[chunk] = last[:n]
            torch.baddbmm(addition[chunk], transition[chunk], states[chunk], out=last[:n])
            start += n
        ctx.save_for_backward(transition, states)
        ctx.counts, ctx.shape = counts, shape
        return states.view(-1, *shape), last.view(-1, *shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        transition, states = ctx.saved_tensors
        heads = ctx.shape[0]
        grad_states = gradients[0].reshape(states.shape)
        grad_last = gradients[1].reshape(-1, *ctx.shape[1:]).clone()
        grad_addition = torch.empty_like(states)
        start = len(states)
        for count in reversed(ctx.counts):
            n = count * heads
            chunk = slice(start - n, start)
            grad_addition[chunk] = grad_last[:n]
            torch.baddbmm(grad_states[chunk], transition[chunk].mT, grad_addition[chunk], out=grad_last[:n])
            start -= n
        grad_transition = grad_addition @ states.mT
        shape = ctx.shape
        return (
            grad_transition.view(-1, shape[0], *transition.shape[1:]),
            grad_addition.view(-1, *shape),
            grad_last.view(-1, *shape),
            None,
        )
