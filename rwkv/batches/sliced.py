"""Batches of whole histories for evaluation, with each stream cut into parts of bounded size."""

from dataclasses import dataclass, replace

import torch

from rwkv.batches.collate import Batch
from rwkv.batches.padding import padded_to_step
from rwkv.batches.single_buffer import SingleBuffer, in_single_buffer
from rwkv.model.gpu_batch import GpuBatch, StoredRows, coded_entities, gpu_batch
from rwkv.model.packing import CutStreams, cut_streams
from rwkv.pytree import map_tensors


@dataclass(frozen=True)
class PlainSlices:
    """A batch for plain ops.

    Attributes:
        rows: The batch without its layouts.
        streams: The cut streams.
    """

    rows: Batch
    streams: CutStreams

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> "PlainSlices":
        """A copy in page-locked memory, from which transfers to a GPU are asynchronous."""
        return map_tensors(torch.Tensor.pin_memory, self)


SlicedBatch = PlainSlices | SingleBuffer[GpuBatch]


def gpu_slices(
    batch: Batch, slice_rows: int, step: int = 1, dtype: torch.dtype = torch.float32
) -> SingleBuffer[GpuBatch]:
    """Cut a batch for the GPU kernels: parts of at most slice_rows rows, all tensors in a single buffer.

    Args:
        batch: The batch.
        slice_rows: Most rows of a part.
        step: The batch is padded to a multiple of this many rows and to few numbers of groups; 1 adds nothing.
        dtype: The dtype of the network, to which the kernel would round the features.
    """
    padded = batch if step == 1 else padded_to_step(batch, step)
    rows = stored_rows(padded)
    rows = replace(rows, features=rows.features.to(dtype))
    return in_single_buffer(gpu_batch(rows, padded.layouts, slice_rows, len(batch)))


def plain_slices(batch: Batch, slice_rows: int) -> PlainSlices:
    """Cut a batch for plain ops: parts of at most slice_rows rows."""
    return PlainSlices(replace(batch, layouts=()), cut_streams(batch.layouts, slice_rows))


def stored_rows(batch: Batch) -> StoredRows:
    """The columns that `Batch.inputs` reads, in the form of the GPU encoder."""
    return StoredRows(
        features=batch.features,
        entities=coded_entities(batch.entities),
        sequence=batch.sequence.to(torch.int32),
        prefix=batch.prefix,
        phases=batch.phases,
        day=batch.day,
        first_day=batch.first_day,
    )
