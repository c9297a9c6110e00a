"""Batches brought to a few fixed sizes, so that a GPU can replay a recorded step: rows and plans that do nothing."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.batches.collate import Batch, BatchLabels
from rwkv.batches.single_buffer import OnePiece, in_one_piece
from rwkv.model.packing import StreamLayout
from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.run_plan import CHUNK_LENGTH, RUNS, RunPlan, plan_runs

# Rows are filled up to a multiple of this share of a full batch.
_ROW_STEPS = 8
# Groups of a stream, and slots of its scan, are filled up to one of these.
_GROUPS = tuple(4**power for power in range(4, 16))
_SLOTS = (0, 128, 512, 2048)

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class PaddedBatch(OnePiece[Batch]):
    """A batch of one of a few sizes, in one piece. Batches of equal `sizes` have equal templates."""

    sizes: Sizes


def pad_batch(batch: Batch, full_rows: int) -> PaddedBatch:
    """Add rows that count nowhere, in a group of their own in every stream, up to a multiple of full_rows / 8."""
    step = -(-full_rows // _ROW_STEPS)
    rows = -(-len(batch) // step) * step
    layouts = tuple(_pad_layout(layout, rows) for layout in batch.layouts)
    labels = batch.labels
    padded = replace(
        batch,
        features=_extend(batch.features, rows, 0),
        is_query=_extend(batch.is_query, rows, True),
        entities={stream: _extend(ids, rows, 0) for stream, ids in batch.entities.items()},
        sequence=_extend(batch.sequence, rows, 0),
        prefix=_extend(batch.prefix, _least(_GROUPS, len(batch.prefix)), 0),
        phases=_extend(batch.phases, _least(_GROUPS, len(batch.phases)), 0),
        day=_extend(batch.day, rows, 0),
        first_day=_extend(batch.first_day, rows, 0),
        layouts=layouts,
        labels=BatchLabels(
            has_label=_extend(labels.has_label, rows, False),
            elapsed_s=_extend(labels.elapsed_s, rows, 0),
            rating=_extend(labels.rating, rows, 1),
            y=_extend(labels.y, rows, 0),
            is_equalize=_extend(labels.is_equalize, rows, False),
        ),
    )
    plans = [layout.groups.runs for layout in layouts]
    sizes = [len(x) for plan in plans for x in (plan.offsets, plan.slot_run, plan.spans)]
    piece = in_one_piece(padded)
    return PaddedBatch(piece.data, piece.template, (rows, len(padded.prefix), *sizes))


def _pad_layout(layout: StreamLayout, rows: int) -> StreamLayout:
    there = layout.groups.groups
    added = torch.arange(len(layout.order), rows)
    offsets = torch.cat([layout.groups.offsets, torch.tensor([rows])])
    is_query = _extend(layout.groups.is_query, rows, True)
    # One group for the added rows, and one at least of no rows, to which the runs that do nothing belong.
    groups = PackedGroups(_extend(offsets, _least(_GROUPS, there + 2) + 1, rows), is_query)
    vars(groups)["runs"] = _pad_runs(plan_runs(offsets, is_query), groups)
    return StreamLayout(
        order=torch.cat([layout.order, added]),
        inverse=torch.cat([layout.inverse, added]),
        groups=groups,
        previous_review=_extend(layout.previous_review, rows, -1),
        source=torch.cat([layout.source, added]),
        group=_extend(layout.group, rows, there),
        last_review=_extend(layout.last_review, groups.groups, -1),
    )


def _pad_runs(plan: RunPlan, groups: PackedGroups) -> RunPlan:
    """Add chunks and runs without rows, and slots, spans and ranges of slots that nobody reads."""
    rows, count = len(groups.is_query), groups.groups
    runs = count + 2 * RUNS
    slots = _least(_SLOTS, len(plan.slot_run) and len(plan.slot_run) + 1)
    spans = slots // 2 if len(plan.spans) else 0
    idle_slots = torch.tensor([slots - 1, slots])
    idle = torch.tensor([spans - 1, spans]) if spans else idle_slots
    return RunPlan(
        is_query=groups.is_query,
        offsets=groups.offsets,
        chunks=_extend(plan.chunks, rows // CHUNK_LENGTH + count, 0),
        runs=_extend(plan.runs, runs, torch.tensor([0, 0, 0, count - 1, -1])),
        slot_run=_extend(plan.slot_run, slots, runs - 1),
        scanned_group=_extend(plan.scanned_group, slots // 2, count - 1),
        group_scan=_extend(plan.group_scan, slots // 2, idle),
        spans=_extend(plan.spans, spans, idle_slots),
    )


def _extend(x: Tensor, length: int, value: Tensor | float) -> Tensor:
    """x [n, ...] followed by copies of a value up to `length` entries."""
    if len(x) > length:
        raise ValueError(f"{len(x)} entries do not fit into {length}")
    added = torch.as_tensor(value, dtype=x.dtype).expand(length - len(x), *x.shape[1:])
    return torch.cat([x, added])


def _least(sizes: Sizes, wanted: int) -> int:
    """The smallest of the sizes that is enough."""
    return next(size for size in sizes if size >= wanted)
