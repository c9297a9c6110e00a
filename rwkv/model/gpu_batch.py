"""Whole histories in the form of the GPU kernels: stored rows, and cut streams with 32-bit places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.model.packing import CutStreams, StreamLayout, StreamPart, cut_streams
from rwkv.model.spec import CODES
from rwkv.ops.triton.arguments import StoredRows


@dataclass(frozen=True)
class GpuBatch:
    """A batch for the GPU kernels.

    Attributes:
        rows: N stored rows in time order.
        streams: The cut streams.
        count: Number of rows that are not padding; these come first.
    """

    rows: StoredRows
    streams: CutStreams
    count: int


def gpu_batch(rows: StoredRows, layouts: Sequence[StreamLayout], part_rows: int, count: int | None = None) -> GpuBatch:
    """Make a batch with every stream cut into parts of at most part_rows rows.

    Args:
        rows: The stored rows.
        layouts: The layouts of the streams.
        part_rows: Most rows of a part.
        count: Number of rows that are not padding; None if none are.
    """
    streams = cut_streams(layouts, part_rows)
    parts = tuple(tuple(_planned(part) for part in parts) for parts in streams.parts)
    return GpuBatch(
        rows,
        CutStreams(parts, None if streams.back is None else _short(streams.back)),
        len(rows) if count is None else count,
    )


def coded_entities(entities: Mapping[str, Tensor]) -> Tensor:
    """The entities of the streams with identity codes, [codes, N], in the order of the codes' numbers in the hash."""
    by_number = sorted(CODES, key=lambda code: code.number)
    return torch.stack([entities[code.stream] for code in by_number])


def _planned(part: StreamPart) -> StreamPart:
    """The part with its run plan."""
    _ = part.groups.runs
    return replace(part, order=_short(part.order), source=_short(part.source))


def _short(places: Tensor) -> Tensor:
    """Convert to int32 to halve the memory; no batch has 2^31 rows."""
    return places.to(torch.int32)
