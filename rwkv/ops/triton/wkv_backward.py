"""WKV backward: the adjoint of the state runs back through the same maps, transposed, and gives each chunk's gradients.

Per chunk, with d for a gradient, R the read matrix and z = -(I + L)^-T dY:
    dY = R^T dO + B_end dX_after,   dX_before = P_end dX_after + U_in^T dO + K_in^T z,
so over a run dX_before = A^T dX_after + G, where G is what the run's own outputs contribute.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.blocks import dot, launch
from rwkv.ops.triton.tuning import CHUNK_LENGTH, wkv_options
from rwkv.ops.triton.wkv_chunk import (
    chunk_factors,
    load_decays,
    load_inverse,
    load_p_end,
    load_rows,
    load_writes,
    read_factors,
    state_offsets,
    store_rows,
    strictly_lower,
    sums,
    transposed_offsets,
)
from rwkv.ops.triton.wkv_forward import Kept
from rwkv.ops.triton.wkv_scan import scan_runs
from rwkv.ops.wkv import WkvInputs


@triton.jit
def _run_adjoint_kernel(
    r,
    log_w,
    k_hat,
    b,
    chunks,
    inverse,
    p_end,
    grad_out,
    offsets,
    runs,
    slot_run,
    additions,
    r_stride: tl.constexpr,
    heads,
    K: tl.constexpr,
    T: tl.constexpr,
    precision: tl.constexpr,
):
    """Write G of every run that follows another into additions, float32 [slots, H, K, K]."""
    slot = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    run = runs + tl.load(slot_run + slot) * 5
    first, end, chunk, group = tl.load(run), tl.load(run + 1), tl.load(run + 2), tl.load(run + 3)
    if (first == end) | (first == tl.load(offsets + group)):
        return
    grad_state = tl.zeros((K, K), tl.float32)
    count = ((end - first + T - 1) // T).to(tl.int32)
    for step in range(count):
        i = count - 1 - step
        row = first + i * T
        inside = tl.arange(0, T) < (end - row).to(tl.int32)
        writes = load_writes(chunks, chunk + i, T)
        r_rows = load_rows(r, row, inside, head, r_stride, K, T)
        log_decay, log_before, log_p = load_decays(log_w, row, inside, writes, head, heads, K, T, precision)
        k = load_rows(k_hat, row, inside, head, heads * K, K, T)
        b_rows = load_rows(b, row, inside, head, heads * K, K, T)
        grad = load_rows(grad_out, row, inside, head, heads * K, K, T)
        solved = load_inverse(inverse, chunk + i, head, heads, T)
        p_last = load_p_end(p_end, chunk + i, head, heads, K)

        k_in, b_scaled, p_before = chunk_factors(log_before, log_p, k, b_rows, writes)
        u_in, _ = read_factors(r_rows, log_decay, k, b_rows, p_before)
        read = strictly_lower(dot(u_in, tl.trans(b_scaled), precision), T)
        grad_y = dot(b_scaled * p_last[None, :], tl.trans(grad_state), precision) + dot(tl.trans(read), grad, precision)
        z = -dot(tl.trans(solved), grad_y, precision)
        grad_state = grad_state * p_last[None, :] + dot(tl.trans(grad), u_in, precision)
        grad_state += dot(tl.trans(z), k_in, precision)
    tl.store(additions + transposed_offsets(slot.to(tl.int64), head, heads, K), grad_state)


@triton.jit
def _gradient_kernel(
    r,
    log_w,
    k_hat,
    v,
    b,
    chunks,
    inverse,
    p_end,
    states,
    grad_out,
    offsets,
    runs,
    grad_ends,
    grad_final,
    grad_r,
    grad_log_decay,
    grad_k_hat,
    grad_v,
    grad_b,
    grad_initial,
    r_stride: tl.constexpr,
    grad_r_stride: tl.constexpr,
    heads,
    K: tl.constexpr,
    T: tl.constexpr,
    precision: tl.constexpr,
):
    """Walk one run of one head backwards from the gradient of the state after it: all gradients of its rows.

    The gradients are added to grad_r, grad_v and grad_b.
    """
    run = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    at = runs + run.to(tl.int64) * 5
    first, end, chunk, group, slot = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3), tl.load(at + 4)
    grad_state = tl.zeros((K, K), tl.float32)
    if slot >= 0:
        grad_state = tl.load(grad_ends + transposed_offsets(slot, head, heads, K))
    elif grad_final is not None:
        grad_state = tl.load(grad_final + state_offsets(group, head, heads, K))

    count = ((end - first + T - 1) // T).to(tl.int32)
    for step in range(count):
        i = count - 1 - step
        row = first + i * T
        inside = tl.arange(0, T) < (end - row).to(tl.int32)
        writes = load_writes(chunks, chunk + i, T)
        r_rows = load_rows(r, row, inside, head, r_stride, K, T)
        log_decay, log_before, log_p = load_decays(log_w, row, inside, writes, head, heads, K, T, precision)
        k = load_rows(k_hat, row, inside, head, heads * K, K, T)
        v_rows = load_rows(v, row, inside, head, heads * K, K, T)
        b_rows = load_rows(b, row, inside, head, heads * K, K, T)
        grad = load_rows(grad_out, row, inside, head, heads * K, K, T)
        solved = load_inverse(inverse, chunk + i, head, heads, T)
        p_last = load_p_end(p_end, chunk + i, head, heads, K)
        state = tl.load(states + state_offsets(chunk + i, head, heads, K)).to(tl.float32)

        # The chunk's forward pass.
        k_in, b_scaled, p_before = chunk_factors(log_before, log_p, k, b_rows, writes)
        u_in, c = read_factors(r_rows, log_decay, k, b_rows, p_before)
        read = strictly_lower(dot(u_in, tl.trans(b_scaled), precision), T)
        y = dot(solved, v_rows - dot(k_in, tl.trans(state), precision), precision)

        # Back to what its products were made of.
        grad_y = dot(b_scaled * p_last[None, :], tl.trans(grad_state), precision) + dot(tl.trans(read), grad, precision)
        z = -dot(tl.trans(solved), grad_y, precision)
        given = load_rows(grad_v, row, inside, head, heads * K, K, T)
        store_rows(grad_v, given + c * grad - z, row, inside, head, heads * K, K, T)
        grad_after = grad_state
        grad_state = grad_after * p_last[None, :] + dot(tl.trans(grad), u_in, precision)
        grad_state += dot(tl.trans(z), k_in, precision)
        # The gradient of the logarithm of a factor of the state before the chunk, by key.
        grad_start = tl.sum(state * grad_state, 0)[None, :]
        grad_system = strictly_lower(dot(z, tl.trans(y), precision), T)
        grad_read = strictly_lower(dot(grad, tl.trans(y), precision), T)
        grad_b_scaled = dot(tl.trans(grad_system), k_in, precision) + dot(tl.trans(grad_read), u_in, precision)
        grad_b_end = dot(y, grad_after, precision)
        grad_k_in = dot(grad_system, b_scaled, precision) + dot(z, state, precision)
        grad_u_in = dot(grad_read, b_scaled, precision) + dot(grad, state, precision)

        # Back to the inputs, loaded again, since not all of them would have stayed in registers.
        r_rows = load_rows(r, row, inside, head, r_stride, K, T)
        k = load_rows(k_hat, row, inside, head, heads * K, K, T)
        b_rows = load_rows(b, row, inside, head, heads * K, K, T)
        given_r = load_rows(grad_r, row, inside, head, grad_r_stride, K, T)
        given_b = load_rows(grad_b, row, inside, head, heads * K, K, T)
        w = libdevice.exp2(log_decay)
        p_inverse = tl.where(writes[:, None], libdevice.exp2(-log_p), 0.0)
        grad_u = grad_u_in * p_before
        grad_k = grad_k_in * p_before - grad_u * c
        grad_w = grad_u * r_rows * w
        grad_b_rows = (grad_b_scaled + grad_b_end * p_last[None, :]) * p_inverse
        # The decay of a row is a factor of the state before the chunk, but for the rows up to it: these enter what they
        # read of the state by the decay before them, and what they write by 1 / P.
        grad_before = grad_k * k + grad_w
        t, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
        grad_decay = grad_start - grad_before - sums(s < t, grad_before - grad_b_rows * b_rows, precision)
        grad_decay = tl.where(writes[:, None], grad_decay, 0.0)
        grad_c = (tl.sum(grad * v_rows, 1) - tl.sum(grad_u * k, 1))[:, None]
        store_rows(grad_log_decay, grad_decay + grad_w, row, inside, head, heads * K, K, T)
        store_rows(grad_r, given_r + grad_u * w + grad_c * b_rows, row, inside, head, grad_r_stride, K, T)
        store_rows(grad_k_hat, grad_k, row, inside, head, heads * K, K, T)
        store_rows(grad_b, given_b + grad_b_rows + grad_c * r_rows, row, inside, head, heads * K, K, T)

    if grad_initial is not None:  # noqa: SIM102 (decided when compiled)
        if first == tl.load(offsets + group):
            tl.store(grad_initial + state_offsets(group, head, heads, K), grad_state)


def wkv_backward(
    inputs: WkvInputs,
    groups: PackedGroups,
    kept: Kept,
    grad_out: Tensor,
    grad_final: Tensor | None,
    grads: WkvInputs,
    needs_initial: bool,
) -> Tensor | None:
    """Write the gradients of the inputs into `grads`; return that of the initial state, if needed.

    grad_out and grad_final are contiguous; log_decay is not used, since log2 w is kept. The gradients of r, v and b are
    added to those in `grads`, since the recurrence is not their only use.
    """
    r, plan = inputs.r, groups.runs
    _, heads, width = r.shape
    slots = len(plan.slot_run)
    shape = (groups.groups, heads, width, width)
    grad_initial = r.new_empty(shape, dtype=torch.float32) if needs_initial else None
    additions = r.new_empty((slots, *shape[1:]), dtype=torch.float32)
    common = {
        "chunks": plan.chunks,
        "inverse": kept.inverse,
        "p_end": kept.p_end,
        "log_w": kept.log_w,
        "grad_out": grad_out,
        "offsets": groups.offsets,
        "runs": plan.runs,
        "r_stride": r.stride(0),
        "heads": heads,
        "T": CHUNK_LENGTH,
    }
    launch(
        _run_adjoint_kernel,
        slots * heads,
        **inputs.named("r", "k_hat", "b"),
        slot_run=plan.slot_run,
        additions=additions,
        **common,
        **wkv_options("adjoint", width, r.dtype),
    )
    grad_ends = scan_runs(plan, kept.transition.mT, additions, grad_final, reverse=True)
    launch(
        _gradient_kernel,
        len(plan.runs) * heads,
        **inputs.named("r", "k_hat", "v", "b"),
        states=kept.states,
        grad_ends=grad_ends,
        grad_final=grad_final,
        **{f"grad_{name}": x for name, x in grads._asdict().items()},
        grad_initial=grad_initial,
        grad_r_stride=grads.r.stride(0),
        **common,
        **wkv_options("gradient", width, r.dtype),
    )
    return grad_initial
