"""The scan of affine maps X -> A X + B along groups of runs, in one or two levels; with A^T for the backward pass.

The columns of X are independent, so each program takes a block of them. All products have full float32 precision
whatever the dtype of the inputs, since errors add up along a long group.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.blocks import launch
from rwkv.ops.triton.run_plan import RunPlan
from rwkv.ops.triton.tuning import other_sizes


@triton.jit
def _compose_kernel(
    transition,
    addition,
    spans,
    composed,
    heads,
    transition_item,
    transition_row,
    transition_column,
    addition_item,
    addition_row,
    K: tl.constexpr,
    COLUMNS: tl.constexpr,
    REVERSE: tl.constexpr,
):
    """Compose the maps of one span into [A | B], written to composed [spans, H, K, 2 K]; one block of columns."""
    blocks: tl.constexpr = 2 * K // COLUMNS
    span = tl.program_id(0) // (heads * blocks)
    head = tl.program_id(0) // blocks % heads
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    first = tl.load(spans + span * 2)
    end = tl.load(spans + span * 2 + 1)
    if first == end:
        return
    key = tl.arange(0, K)[:, None]
    a_at = transition + key * transition_row + tl.arange(0, K)[None, :] * transition_column
    b_at = addition + key * addition_row + (column - K)
    # The columns of A start from the identity and get no addition.
    x = tl.where(key == column, 1.0, 0.0)
    added = (key >= 0) & (column >= K)
    step = -heads if REVERSE else heads
    item = (end - 1 if REVERSE else first) * heads + head
    next_b = tl.load(b_at + item * addition_item, mask=added, other=0.0)
    for i in range((end - first).to(tl.int32)):
        a = tl.load(a_at + (item + i * step) * transition_item)
        b = next_b
        next_b = tl.load(b_at + (item + (i + 1) * step) * addition_item, mask=added & (first + i + 1 < end), other=0.0)
        x = tl.dot(a, x, b, input_precision="tf32x3")
    tl.store(composed + ((span.to(tl.int64) * heads + head) * K + key) * 2 * K + column, x)


@triton.jit(do_not_specialize=["first_count"])
def _expand_kernel(
    transition,
    addition,
    ranges,
    first_state,
    first_index,
    states,
    heads,
    transition_item,
    transition_row,
    transition_column,
    addition_item,
    addition_row,
    first_row,
    first_column,
    first_count,
    K: tl.constexpr,
    COLUMNS: tl.constexpr,
    REVERSE: tl.constexpr,
):
    """The state before each item of one range, into states [items, H, K, K]; one block of its columns.

    A range starts from first_state at first_index (at the range's number if None), or from zero if that index is not
    below first_count.
    """
    blocks: tl.constexpr = K // COLUMNS
    number = tl.program_id(0) // (heads * blocks)
    head = tl.program_id(0) // blocks % heads
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    first = tl.load(ranges + number * 2)
    end = tl.load(ranges + number * 2 + 1)
    if first == end:
        return
    key = tl.arange(0, K)[:, None]
    a_at = transition + key * transition_row + tl.arange(0, K)[None, :] * transition_column
    b_at = addition + key * addition_row + column
    x_at = states + key * K + column
    if first_state is None:
        x = tl.zeros((K, COLUMNS), tl.float32)
    else:
        start = number.to(tl.int64)
        if first_index is not None:
            start = tl.load(first_index + number)
        at = (start * heads + head) * K * K + key * first_row + column * first_column
        x = tl.load(first_state + at, mask=(at >= 0) & (start < first_count), other=0.0)
    step = -heads if REVERSE else heads
    item = (end - 1 if REVERSE else first) * heads + head
    steps = (end - first).to(tl.int32) - 1
    next_b = tl.load(b_at + item * addition_item)
    for i in range(steps):
        a = tl.load(a_at + (item + i * step) * transition_item)
        b = next_b
        next_b = tl.load(b_at + (item + (i + 1) * step) * addition_item)
        tl.store(x_at + (item + i * step) * K * K, x)
        x = tl.dot(a, x, b, input_precision="tf32x3")
    tl.store(x_at + (item + steps * step) * K * K, x)


def scan_runs(plan: RunPlan, transition: Tensor, addition: Tensor, first: Tensor | None, reverse: bool) -> Tensor:
    """The state before each slot of the plan, or after it if `reverse`.

    Args:
        plan: The run plan.
        transition: A of each slot, float32 [slots, H, K, K], of any strides. The last slot of a group (the first if
            `reverse`) is not used.
        addition: B of each slot, float32 [slots, H, K, K].
        first: Initial states of the first groups, float32 [any, H, K (value), K (key)]; the others start from zero.
        reverse: Whether to scan backwards in time.

    Returns:
        States, float32 [slots, H, K (key), K (value)].
    """
    if first is not None:
        first = first.mT
    if not plan.spans.shape[0]:
        return _expand(transition, addition, plan.group_scan, first, plan.scanned_group, reverse)
    composed = _compose(transition, addition, plan.spans, reverse)
    width = transition.shape[-1]
    a, b = composed[..., :width], composed[..., width:]
    starts = _expand(a, b, plan.group_scan, first, plan.scanned_group, reverse)
    return _expand(transition, addition, plan.spans, starts, None, reverse)


def _compose(transition: Tensor, addition: Tensor, spans: Tensor, reverse: bool) -> Tensor:
    (_, heads, width, _), sizes = transition.shape, other_sizes("scan")
    composed = torch.empty(len(spans), heads, width, 2 * width, device=transition.device)
    launch(
        _compose_kernel,
        len(spans) * heads * (2 * width // sizes["COLUMNS"]),
        **_maps(transition, addition),
        spans=spans,
        composed=composed,
        REVERSE=reverse,
        **sizes,
    )
    return composed


def _expand(
    transition: Tensor, addition: Tensor, ranges: Tensor, first: Tensor | None, index: Tensor | None, reverse: bool
) -> Tensor:
    (items, heads, width, _), sizes = transition.shape, other_sizes("scan")
    states = torch.empty(items, heads, width, width, device=transition.device)
    launch(
        _expand_kernel,
        len(ranges) * heads * (width // sizes["COLUMNS"]),
        **_maps(transition, addition),
        ranges=ranges,
        first_state=first,
        first_index=index,
        states=states,
        first_row=0 if first is None else first.stride(2),
        first_column=0 if first is None else first.stride(3),
        first_count=0 if first is None else len(first),
        REVERSE=reverse,
        **sizes,
    )
    return states


def _maps(transition: Tensor, addition: Tensor) -> dict[str, Any]:
    """The affine maps [slots, H, K, K] as arguments of a kernel."""
    _, transition_item, transition_row, transition_column = transition.stride()
    _, addition_item, addition_row, _ = addition.stride()
    return {
        "transition": transition,
        "addition": addition,
        "heads": transition.shape[1],
        "transition_item": transition_item,
        "transition_row": transition_row,
        "transition_column": transition_column,
        "addition_item": addition_item,
        "addition_row": addition_row,
        "K": transition.shape[2],
    }
