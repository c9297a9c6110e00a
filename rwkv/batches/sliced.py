"""Whole histories ready to be evaluated: a batch, and each stream of it cut into parts of bounded size."""

from dataclasses import dataclass, replace

import torch

from rwkv.batches.collate import Batch
from rwkv.batches.single_buffer import OnePiece, in_one_piece
from rwkv.model.gpu_batch import GpuBatch, StoredRows, coded_entities, gpu_batch
from rwkv.model.packing import StreamPart, cut_stream


@dataclass(frozen=True)
class PlainSlices:
    """For plain ops. rows: the batch without its layouts; parts: of each stream, in the order of the network."""

    rows: Batch
    parts: tuple[tuple[StreamPart, ...], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> "PlainSlices":
        """The same in memory from which copies to a GPU do not wait."""
        pin = torch.Tensor.pin_memory
        return PlainSlices(self.rows.map(pin), tuple(tuple(part.map(pin) for part in of) for of in self.parts))


SlicedBatch = PlainSlices | OnePiece[GpuBatch]


def gpu_slices(batch: Batch, slice_rows: int) -> OnePiece[GpuBatch]:
    """For the kernels for GPUs: every stream in parts of at most slice_rows rows, all in one piece of memory."""
    return in_one_piece(gpu_batch(stored_rows(batch), batch.layouts, slice_rows))


def plain_slices(batch: Batch, slice_rows: int) -> PlainSlices:
    """For plain ops: every stream in parts of at most slice_rows rows."""
    parts = tuple(cut_stream(layout, slice_rows) for layout in batch.layouts)
    return PlainSlices(replace(batch, layouts=()), parts)


def stored_rows(batch: Batch) -> StoredRows:
    """What `Batch.inputs` reads, as the encoder on a GPU takes it."""
    return StoredRows(
        features=batch.features,
        entities=coded_entities(batch.entities),
        sequence=batch.sequence.to(torch.int32),
        prefix=batch.prefix,
        phases=batch.phases,
        day=batch.day,
        first_day=batch.first_day,
    )
