"""WKV forward: parts of all chunks, maps of the runs in groups of several, a scan over these, then all outputs."""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.arguments import OutputWeights
from rwkv.ops.triton.blocks import dot, launch
from rwkv.ops.triton.tuning import CHUNK_LENGTH, wkv_options
from rwkv.ops.triton.wkv_chunk import (
    load_channels,
    load_inverse,
    load_operand,
    load_p_end,
    load_rows,
    standardised,
    state_offsets,
    store_rows,
    transposed,
    transposed_offsets,
)
from rwkv.ops.triton.wkv_parts import chunk_parts
from rwkv.ops.triton.wkv_scan import scan_runs
from rwkv.ops.wkv import WkvInputs


@triton.jit
def _run_map_kernel(
    k_solved,
    v_solved,
    b_end,
    p_end,
    runs,
    slot_run,
    transition,
    addition,
    heads,
    K: tl.constexpr,
    T: tl.constexpr,
    precision: tl.constexpr,
):
    """Write A and B of each slot and head, float32 [slots, H, K, K]; X after a run = A X before + B."""
    slot = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    run = runs + tl.load(slot_run + slot) * 5
    first, end, chunk = tl.load(run), tl.load(run + 1), tl.load(run + 2)
    if first == end:
        return
    key = tl.arange(0, K)[None, :]
    column = tl.arange(0, 2 * K)
    # A chunk acts on the columns of A as on those of a state, but with v = 0.
    state = tl.where(key == column[:, None], 1.0, 0.0)
    for i in range(((end - first + T - 1) // T).to(tl.int32)):
        row = first + i * T
        inside = tl.arange(0, T) < (end - row).to(tl.int32)
        k = load_operand(k_solved, row, inside, head, heads, K, T)
        v_at = (row * heads + head) * K + (tl.arange(0, T)[:, None] * heads * K + column[None, :] - K)
        v = tl.load(v_solved + v_at, mask=inside[:, None] & (column[None, :] >= K), other=0)
        b = load_operand(b_end, row, inside, head, heads, K, T)
        y = transposed(v, 2 * K) - dot(state, tl.trans(k), precision)
        state = state * load_p_end(p_end, chunk + i, head, heads, K)[None, :] + dot(y, b, precision)
    at = (slot.to(tl.int64) * heads + head) * K * K + (key * K + column[:, None])
    tl.store(transition + at, state, mask=(key >= 0) & (column < K)[:, None])
    tl.store(addition + at - K, state, mask=(key >= 0) & (column >= K)[:, None])


@triton.jit(do_not_specialize=["initial_groups", "final_first"])
def _output_kernel(
    r,
    v,
    b,
    k_solved,
    v_solved,
    b_end,
    u_in,
    read,
    p_end,
    offsets,
    runs,
    starts,
    initial_state,
    gate,
    bonus,
    norm_weight,
    norm_bias,
    out,
    gated,
    final_state,
    states,
    initial_groups,
    final_first,
    r_stride: tl.constexpr,
    heads,
    K: tl.constexpr,
    T: tl.constexpr,
    precision: tl.constexpr,
    reading: tl.constexpr,
):
    """Walk one run of one head from the state before it: outputs, states of the chunks, and the group's final state.

    Groups from initial_groups on start from zero, and groups before final_first write no final state. `gated` gets the
    output of `wkv_output`, if given.
    """
    run = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    at = runs + run.to(tl.int64) * 5
    first, end, chunk, group, slot = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3), tl.load(at + 4)
    state = tl.zeros((K, K), tl.float32)
    if slot >= 0:
        state = tl.load(starts + transposed_offsets(slot, head, heads, K))
    elif initial_state is not None:
        place = state_offsets(group, head, heads, K)
        state = tl.load(initial_state + place, mask=(place >= 0) & (group < initial_groups), other=0.0)

    for i in range(((end - first + T - 1) // T).to(tl.int32)):
        row = first + i * T
        inside = tl.arange(0, T) < (end - row).to(tl.int32)
        k = load_operand(k_solved, row, inside, head, heads, K, T)
        v_own = load_operand(v_solved, row, inside, head, heads, K, T)
        b_last = load_operand(b_end, row, inside, head, heads, K, T)
        u = load_operand(u_in, row, inside, head, heads, K, T)
        reads = load_inverse(read, chunk + i, head, heads, T)
        p_last = load_p_end(p_end, chunk + i, head, heads, K)[None, :]
        r_rows = load_rows(r, row, inside, head, r_stride, K, T)
        v_rows = load_rows(v, row, inside, head, heads * K, K, T)
        b_rows = load_rows(b, row, inside, head, heads * K, K, T)
        if states is not None:
            tl.store(states + state_offsets(chunk + i, head, heads, K), state.to(states.dtype.element_ty))

        y = transposed(v_own, K) - dot(state, tl.trans(k), precision)
        state_after = state * p_last + dot(y, b_last, precision)
        c = tl.sum(b_rows * r_rows, 1)[:, None]
        result = c * v_rows + dot(u, tl.trans(state), reading) + dot(reads, tl.trans(y), reading)
        if out is not None:
            store_rows(out, result, row, inside, head, heads * K, K, T)
        if gated is not None:
            unit, _ = standardised(result, K)
            share = tl.sum(r_rows * load_channels(bonus, head, K) * b_rows, 1)[:, None]
            scaled = unit * load_channels(norm_weight, head, K) + load_channels(norm_bias, head, K)
            gates = load_rows(gate, row, inside, head, heads * K, K, T)
            store_rows(gated, gates * (scaled + share * v_rows), row, inside, head, heads * K, K, T)
        state = state_after

    if final_state is not None:  # noqa: SIM102 (decided when compiled)
        if (group >= final_first) & (end == tl.load(offsets + group + 1)):
            tl.store(final_state + state_offsets(group - final_first, head, heads, K), state)


class Kept(NamedTuple):
    """The tensors that the forward pass keeps for the backward pass.

    Attributes:
        inverse, p_end, log_w: See `Parts`.
        transition: A of the runs, float32 [slots, H, K, K].
        states: S before each chunk in the dtype of r, [B, H, K (value), K (key)]; None if not kept.
        out: The output before gating, [N, H, K]; None if it was not gated.
    """

    inverse: Tensor | None
    p_end: Tensor
    log_w: Tensor | None
    transition: Tensor
    states: Tensor | None
    out: Tensor | None


class Gating(NamedTuple):
    """The gate [N, H, K] and the weights that turn the recurrence's output into a time mixer's."""

    gate: Tensor
    weights: OutputWeights


class Forward(NamedTuple):
    """The output [N, H, K], gated if requested, the final states of the last groups, and the kept tensors."""

    result: Tensor
    final_state: Tensor
    kept: Kept


def wkv_forward(
    inputs: WkvInputs,
    groups: PackedGroups,
    initial_state: Tensor | None,
    final_groups: int,
    keep: bool,
    gating: Gating | None = None,
) -> Forward:
    """Run the forward kernels.

    Args:
        inputs: The arguments, as in `wkv_triton`. They and `initial_state` start at multiples of 16 bytes and are
            contiguous, except for the rows of r.
        groups: The packed groups.
        initial_state: States of the first groups, float32 [any, H, K (value), K (key)]; the others start from zero.
        final_groups: The number of last groups whose final states are returned.
        keep: Whether a backward pass follows.
    """
    r, plan = inputs.r, groups.runs
    rows, heads, width = r.shape
    new = r.new_empty
    chunks, slots, runs = (len(part) for part in (plan.chunks, plan.slot_run, plan.runs))
    result = new(rows, heads, width)
    out = new(rows, heads, width) if keep and gating is not None else None
    final_state = new(final_groups, heads, width, width, dtype=torch.float32)
    states = new(chunks, heads, width, width) if keep else None
    transition, addition = (new(slots, heads, width, width, dtype=torch.float32) for _ in range(2))
    reading = "bf16" if r.dtype == torch.bfloat16 else "tf32x3"
    common = {"heads": heads, "T": CHUNK_LENGTH}

    def options(name: str) -> dict[str, Any]:
        return common | wkv_options(name, width, r.dtype)

    parts = chunk_parts(inputs, plan, reading, keep)
    launch(
        _run_map_kernel,
        slots * heads,
        **parts.of_states(),
        runs=plan.runs,
        slot_run=plan.slot_run,
        transition=transition,
        addition=addition,
        **options("map"),
    )
    starts = scan_runs(plan, transition, addition, initial_state, reverse=False)
    del addition
    launch(
        _output_kernel,
        runs * heads,
        **inputs.named("r", "v", "b"),
        **parts.of_states(),
        u_in=parts.u_in,
        read=parts.read,
        offsets=groups.offsets,
        runs=plan.runs,
        starts=starts,
        initial_state=initial_state,
        gate=None if gating is None else gating.gate,
        bonus=None if gating is None else gating.weights.bonus,
        norm_weight=None if gating is None else gating.weights.weight,
        norm_bias=None if gating is None else gating.weights.bias,
        out=result if gating is None else out,
        gated=None if gating is None else result,
        final_state=final_state if final_groups else None,
        states=states,
        initial_groups=0 if initial_state is None else len(initial_state),
        final_first=groups.groups - final_groups,
        r_stride=r.stride(0),
        reading=reading,
        **options("output"),
    )
    return Forward(result, final_state, Kept(parts.inverse, parts.p_end, parts.log_w, transition, states, out))
