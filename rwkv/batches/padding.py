"""Batches brought to a few fixed sizes, so that a GPU can replay a recorded step: rows and plans that do nothing."""

from dataclasses import dataclass, replace

from rwkv.batches.collate import Batch, BatchLabels
from rwkv.batches.single_buffer import OnePiece, in_one_piece
from rwkv.model.packing import extended

# Rows are filled up to a multiple of this share of a full batch.
_ROW_STEPS = 8
# Groups of a stream are filled up to one of these.
_GROUPS = tuple(4**power for power in range(4, 16))

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class PaddedBatch(OnePiece[Batch]):
    """A batch of one of a few sizes, in one piece. Batches of equal `sizes` have equal templates."""

    sizes: Sizes


def pad_batch(batch: Batch, full_rows: int) -> PaddedBatch:
    """Add rows that count nowhere, in a group of their own in every stream, up to a multiple of full_rows / 8."""
    step = -(-full_rows // _ROW_STEPS)
    rows = -(-len(batch) // step) * step
    # Two groups more at least: that of the added rows, and an empty one.
    layouts = tuple(layout.padded(rows, _least(_GROUPS, layout.groups.groups + 2)) for layout in batch.layouts)
    labels = batch.labels
    padded = replace(
        batch,
        features=extended(batch.features, rows, 0),
        is_query=extended(batch.is_query, rows, True),
        entities={stream: extended(ids, rows, 0) for stream, ids in batch.entities.items()},
        sequence=extended(batch.sequence, rows, 0),
        prefix=extended(batch.prefix, _least(_GROUPS, len(batch.prefix)), 0),
        phases=extended(batch.phases, _least(_GROUPS, len(batch.phases)), 0),
        day=extended(batch.day, rows, 0),
        first_day=extended(batch.first_day, rows, 0),
        layouts=layouts,
        labels=BatchLabels(
            has_label=extended(labels.has_label, rows, False),
            elapsed_s=extended(labels.elapsed_s, rows, 0),
            rating=extended(labels.rating, rows, 1),
            y=extended(labels.y, rows, 0),
            is_equalize=extended(labels.is_equalize, rows, False),
        ),
    )
    plans = [layout.groups.runs for layout in layouts]
    sizes = [len(x) for plan in plans for x in (plan.offsets, plan.slot_run, plan.spans)]
    piece = in_one_piece(padded)
    return PaddedBatch(piece.data, piece.template, (rows, len(padded.prefix), *sizes))


def _least(sizes: Sizes, wanted: int) -> int:
    """The smallest of the sizes that is enough."""
    return next(size for size in sizes if size >= wanted)
