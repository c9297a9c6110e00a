"""How packed groups are cut up for the GPU: chunks of rows, runs of chunks, spans of runs. Built once a stream layout.

A program walks one run, chunk by chunk. Runs of one group depend on each other through the state alone, so a group of
several runs is first reduced to one affine map a run, those are scanned, and then all runs go at once.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.ops.triton.tuning import CHUNK_LENGTH, LONGEST_SCAN, RUNS, RUNS_OF_A_GROUP

# Slots of a padded plan's scan are filled up to one of these.
_SLOTS = (0, 128, 512, 2048)


@dataclass(frozen=True)
class RunPlan:
    """Which rows form chunks, runs and groups. All tensors int64 unless said otherwise, all on one device.

    is_query bool [N]. offsets [G + 1]: group g is rows offsets[g] to offsets[g + 1] - 1.
    chunks [B, 2]: first row, and the row after the last. A chunk has at most CHUNK_LENGTH rows of one group.
    runs: first row, row after the last, first chunk, group, slot; an empty group has one run without rows. A slot is
    a place in the scan, which only runs of groups of several runs have, in order; -1 otherwise.
    slot_run: the run in each slot. scanned_group: the groups with slots.
    group_scan: their slots, or their spans if there are any: first, and the one after the last.
    spans [spans, 2]: first slot, and the slot after the last; none if every group's scan is short.
    """

    is_query: Tensor
    offsets: Tensor
    chunks: Tensor
    runs: Tensor
    slot_run: Tensor
    scanned_group: Tensor
    group_scan: Tensor
    spans: Tensor

    @property
    def groups(self) -> int:
        return self.offsets.shape[0] - 1

    def padded(self, offsets: Tensor, is_query: Tensor) -> "RunPlan":
        """The same with chunks and runs without rows, and slots, spans and ranges of slots that nobody reads.

        offsets, is_query: as `PackedGroups.padded` has them, of whose groups the last have no rows. Plans of equally
        many rows and groups have one of a few sizes.
        """
        rows, groups = len(is_query), len(offsets) - 1
        runs = groups + 2 * RUNS
        wanted = len(self.slot_run) and len(self.slot_run) + 1
        slots = next(size for size in _SLOTS if size >= wanted)
        spans = slots // 2 if len(self.spans) else 0
        idle_slots = torch.tensor([slots - 1, slots])
        idle = torch.tensor([spans - 1, spans]) if spans else idle_slots
        return RunPlan(
            is_query=is_query,
            offsets=offsets,
            chunks=extended(self.chunks, rows // CHUNK_LENGTH + groups, 0),
            runs=extended(self.runs, runs, torch.tensor([0, 0, 0, groups - 1, -1])),
            slot_run=extended(self.slot_run, slots, runs - 1),
            scanned_group=extended(self.scanned_group, slots // 2, groups - 1),
            group_scan=extended(self.group_scan, slots // 2, idle),
            spans=extended(self.spans, spans, idle_slots),
        )


def extended(x: Tensor, length: int, value: Tensor | float) -> Tensor:
    """x [n, ...] followed by copies of a value up to `length` entries."""
    if len(x) > length:
        raise ValueError(f"{len(x)} entries do not fit into {length}")
    added = torch.as_tensor(value, dtype=x.dtype).expand(length - len(x), *x.shape[1:])
    return torch.cat([x, added])


def plan_runs(offsets: Tensor, is_query: Tensor) -> RunPlan:
    """Plan the runs of packed groups; every group may have any number of rows, also none.

    offsets: int64 [G + 1]; is_query: bool [N]; on any device (the CPU avoids waiting for a GPU).
    """
    _, chunk_first, chunk_end = _cut(offsets, CHUNK_LENGTH)
    longest = int(offsets.diff().max()) / CHUNK_LENGTH if len(offsets) > 1 else 0
    chunks_of_run = _nearest_power_of_two(max(len(chunk_first) / RUNS, longest / RUNS_OF_A_GROUP))
    run_group, run_first, run_end = _cut(offsets, CHUNK_LENGTH * chunks_of_run, keep_empty=True)

    runs_of_group = torch.bincount(run_group, minlength=len(offsets) - 1)
    scanned = runs_of_group > 1
    has_slot = scanned[run_group]
    slot_run = has_slot.nonzero().squeeze(1)
    slot = torch.where(has_slot, has_slot.cumsum(0) - 1, -1)
    # Chunks and runs both go through the groups in order, so a run's first chunk is the first from its first row on.
    run_chunk = torch.searchsorted(chunk_first, run_first)

    scanned_group = scanned.nonzero().squeeze(1)
    group_scan = _with_start(runs_of_group[scanned_group].cumsum(0))
    spans = offsets.new_zeros(0, 2)
    most = int(runs_of_group.max()) if len(runs_of_group) else 0
    if most > LONGEST_SCAN:
        span_group, span_first, span_end = _cut(group_scan, round(most**0.5))
        spans = torch.stack([span_first, span_end], 1)
        group_scan = _with_start(torch.bincount(span_group, minlength=len(scanned_group)).cumsum(0))
    return RunPlan(
        is_query=is_query,
        offsets=offsets,
        chunks=torch.stack([chunk_first, chunk_end], 1),
        runs=torch.stack([run_first, run_end, run_chunk, run_group, slot], 1),
        slot_run=slot_run,
        scanned_group=scanned_group,
        group_scan=torch.stack([group_scan[:-1], group_scan[1:]], 1),
        spans=spans,
    )


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
