"""Whole histories ready to be evaluated: a batch, and each stream of it cut into parts of bounded size."""

from dataclasses import dataclass, replace

import torch

from rwkv.batches.collate import Batch
from rwkv.model.packing import StreamPart, cut_stream


@dataclass(frozen=True)
class SlicedBatch:
    """rows: the batch without its layouts; parts: of each stream, in the order of the network, with their plans."""

    rows: Batch
    parts: tuple[tuple[StreamPart, ...], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> "SlicedBatch":
        """The same in memory from which copies to a GPU do not wait."""
        pin = torch.Tensor.pin_memory
        return SlicedBatch(self.rows.map(pin), tuple(tuple(part.map(pin) for part in of) for of in self.parts))


def slice_batch(batch: Batch, slice_rows: int, for_gpu: bool) -> SlicedBatch:
    """Cut every stream into parts of at most slice_rows rows; for_gpu: with the plans of the kernels for GPUs."""
    parts = tuple(cut_stream(layout, slice_rows) for layout in batch.layouts)
    if for_gpu:
        for of in parts:
            for part in of:
                _ = part.layout.groups.runs
    return SlicedBatch(replace(batch, layouts=()), parts)
