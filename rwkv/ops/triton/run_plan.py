"""The plan by which GPU kernels cut packed groups: chunks of rows, runs of chunks, and spans of runs.

A program walks one run, chunk by chunk. Runs of one group depend on each other only through the state. So each run of
a group with several is first reduced to an affine map, the maps are scanned, and then all runs are computed at once.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.ops.triton.tuning import CHUNK_LENGTH, LONGEST_SCAN, RUNS, RUNS_OF_A_GROUP, SHORT_GROUP

# A padded plan has the first of these numbers of slots that suffices. No plan needs more than 2^1.5 RUNS: runs may be
# shorter than for RUNS runs by 2^0.5, and the last run of each group is short. No number is 0, so that all padded plans
# run the same kernels, and one warm-up compiles them, see rwkv/training/graphs.py.
_SLOTS = (2 * RUNS, 3 * RUNS)
# Slots of a span, at least.
_SPAN = 4


@dataclass(frozen=True)
class RunPlan:
    """The rows of chunks, runs and groups; tensors are int64.

    A slot is a place in the scan. Only the runs of groups with several runs have slots, in order.

    Attributes:
        chunks: First row, one past the last, and the rows that are not queries, as bits, of each chunk, [B, 3]; at most
            CHUNK_LENGTH rows of one group.
        runs: First row, one past the last, first chunk, group and slot (or -1) of each run, [runs, 5], from long to
            short. An empty group has one run without rows.
        slot_run: The run in each slot, [slots].
        scanned_group: The groups with slots.
        group_scan: First slot and one past the last of each of these groups; spans instead of slots if there are any.
        spans: First slot and one past the last of each span, [spans, 2]; empty if scans have one level.
    """

    chunks: Tensor
    runs: Tensor
    slot_run: Tensor
    scanned_group: Tensor
    group_scan: Tensor
    spans: Tensor


def extended(x: Tensor, length: int, value: Tensor | float) -> Tensor:
    """Extend x [n, ...] to `length` entries by copies of a value."""
    if len(x) > length:
        raise ValueError(f"{len(x)} entries do not fit into {length}")
    if len(x) == length:
        return x
    added = torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(length - len(x), *x.shape[1:])
    return torch.cat([x, added])


def plan_runs(offsets: Tensor, is_query: Tensor, longest_scan: int = LONGEST_SCAN) -> RunPlan:
    """Plan the runs of packed groups, which may be empty.

    Args:
        offsets: Start of each group and N, int64 [G + 1], on any device; the CPU avoids waiting for a GPU.
        is_query: Whether each row only reads the state, bool [N], on the same device.
        longest_scan: With more runs in any group, scans have two levels.
    """
    _, chunk_first, chunk_end = _cut(offsets, CHUNK_LENGTH)
    chunks_of_run = _chunks_of_run((offsets.diff() + CHUNK_LENGTH - 1) // CHUNK_LENGTH)
    run_group, run_first, run_end = _cut(offsets, CHUNK_LENGTH * chunks_of_run, keep_empty=True)

    runs_of_group = torch.bincount(run_group, minlength=len(offsets) - 1)
    scanned = runs_of_group > 1
    has_slot = scanned[run_group]
    slot = torch.where(has_slot, has_slot.cumsum(0) - 1, -1)
    # Chunks and runs are both in the order of the groups, so a run's first chunk is the first from its first row on.
    run_chunk = torch.searchsorted(chunk_first, run_first)
    # A long run that began last would keep the others waiting.
    order = (run_end - run_first).argsort(descending=True, stable=True)
    slot_run = torch.argsort(order)[has_slot]

    scanned_group = scanned.nonzero().squeeze(1)
    group_scan = _with_start(runs_of_group[scanned_group].cumsum(0))
    spans = offsets.new_zeros(0, 2)
    most = int(runs_of_group.max()) if len(runs_of_group) else 0
    if most > longest_scan:
        span_group, span_first, span_end = _cut(group_scan, max(_SPAN, round(most**0.5)))
        spans = torch.stack([span_first, span_end], 1)
        group_scan = _with_start(torch.bincount(span_group, minlength=len(scanned_group)).cumsum(0))
    return RunPlan(
        chunks=torch.stack([chunk_first, chunk_end, _review_bits(chunk_first, chunk_end, is_query)], 1),
        runs=torch.stack([run_first, run_end, run_chunk, run_group, slot], 1)[order],
        slot_run=slot_run,
        scanned_group=scanned_group,
        group_scan=torch.stack([group_scan[:-1], group_scan[1:]], 1),
        spans=spans,
    )


def plan_padded_runs(offsets: Tensor, is_query: Tensor, rows: int, groups: int) -> RunPlan:
    """Plan runs as `plan_runs` does, and add chunks and runs without rows, unused slots, and empty spans and ranges.

    Plans with equally many rows and groups have one of a few sizes. All their scans have two levels.

    Args:
        offsets: As in `plan_runs`, of at most `groups` groups.
        is_query: As in `plan_runs`.
        rows: Number of rows N.
        groups: Number of groups, see `PackedGroups.padded`.
    """
    plan = plan_runs(offsets, is_query, longest_scan=0)
    runs = groups + 2 * RUNS
    slots = next(size for size in _SLOTS if size > len(plan.slot_run))
    # A group of n slots, two or more, has at most n / 2 spans, and mostly fewer than n / 4.
    spans = slots // 4 if len(plan.spans) <= slots // 4 else slots // 2
    return RunPlan(
        chunks=extended(plan.chunks, rows // CHUNK_LENGTH + groups, 0),
        runs=extended(plan.runs, runs, torch.tensor([0, 0, 0, groups - 1, -1])),
        slot_run=extended(plan.slot_run, slots, runs - 1),
        scanned_group=extended(plan.scanned_group, spans, groups - 1),
        group_scan=extended(plan.group_scan, spans, 0),
        spans=extended(plan.spans, spans, 0),
    )


def _chunks_of_run(chunks: Tensor) -> int:
    """How many chunks the runs of groups of so many chunks, int64 [G], have at most.

    Many short groups fill a GPU without being cut, so the runs of a long group among them need not be long.
    """
    longest = int(chunks.max()) / RUNS_OF_A_GROUP if len(chunks) else 0
    in_long = int(chunks[chunks > SHORT_GROUP].sum()) / RUNS
    return _nearest_power_of_two(max(in_long, longest, min(SHORT_GROUP, int(chunks.sum()) / RUNS)))


def _review_bits(first: Tensor, end: Tensor, is_query: Tensor) -> Tensor:
    """For each chunk the sum of 2^t over its rows t that are not queries, int64."""
    chunk = torch.repeat_interleave(torch.arange(len(first), device=first.device), end - first)
    place = torch.arange(len(chunk), device=first.device) - first[chunk]
    return torch.zeros_like(first).index_add_(0, chunk, (~is_query).long() << place)


def _cut(offsets: Tensor, length: int, keep_empty: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Cut ranges into pieces of at most `length`: for each piece its range, its start and its end, int64 [pieces]."""
    pieces = ((offsets.diff() + length - 1) // length).clamp(min=int(keep_empty))
    source = torch.repeat_interleave(torch.arange(len(pieces), device=offsets.device), pieces)
    before = _with_start(pieces.cumsum(0))
    start = offsets[source] + (torch.arange(len(source), device=offsets.device) - before[source]) * length
    return source, start, torch.minimum(start + length, offsets[source + 1])


def _with_start(ends: Tensor) -> Tensor:
    return torch.cat([ends.new_zeros(1), ends])


def _nearest_power_of_two(x: float) -> int:
    return 1 << round(math.log2(max(1.0, x)))
