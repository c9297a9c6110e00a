"""Padding batches to a few fixed sizes, so that a GPU can replay a recorded training step or evaluation."""

from dataclasses import replace

from rwkv.batches.collate import Batch, BatchLabels
from rwkv.batches.single_buffer import SingleBuffer, in_single_buffer
from rwkv.model.packing import PADDED_GROUP, extended

# Rows are padded to a multiple of 1 / ROW_STEPS of a full batch. Shares of a batch have more or fewer rows than a full
# one, so they are padded to finer steps.
ROW_STEPS, ROW_STEPS_OF_SHARES = 8, 16
# Groups of a stream are padded to one of these numbers, or to the most that so many rows can have.
_GROUPS = (512, *(4**power for power in range(6, 16)))

# Batches of equal sizes have equal templates.
PaddedBatch = SingleBuffer[Batch]


def pad_batch(batch: Batch, full_rows: int, steps: int = ROW_STEPS) -> PaddedBatch:
    """Pad a batch for training, in a single buffer.

    Args:
        batch: The batch.
        full_rows: Rows of a full batch.
        steps: The padded batch has a multiple of full_rows / steps.
    """
    return in_single_buffer(padded_to_step(batch, -(-full_rows // steps)))


def padded_to_step(batch: Batch, step: int) -> Batch:
    """Pad a batch to a multiple of `step` rows by unlabelled query rows, in groups of their own in every stream."""
    rows = -(-len(batch) // step) * step
    # Room for the groups of any number of added rows, and for an empty one.
    more = -(-step // PADDED_GROUP) + 1
    groups = (min(rows + more, _least(_GROUPS, layout.groups.groups + more)) for layout in batch.layouts)
    layouts = tuple(layout.padded(rows, count) for layout, count in zip(batch.layouts, groups, strict=True))
    labels = batch.labels
    return replace(
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


def _least(sizes: tuple[int, ...], wanted: int) -> int:
    """The smallest of the ascending sizes that is at least `wanted`."""
    return next(size for size in sizes if size >= wanted)
