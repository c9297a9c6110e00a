"""Whole histories in the form of the GPU kernels: stored rows, and only those parts of a layout that they read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.model.packing import StreamLayout, StreamPart, cut_stream
from rwkv.model.spec import CODES
from rwkv.ops.triton.arguments import StoredRows
from rwkv.ops.triton.run_plan import RunPlan


@dataclass(frozen=True)
class GpuPart:
    """The data of a StreamPart that the kernels read.

    Attributes:
        places: Place of each row in the previous stream's order, or in time order for the first stream, int32 [n].
        source: The place that each row is shifted to, int32 [n], as in StreamPart.
        plan: The run plan of its groups.
        goes_on: As in StreamPart.
        is_cut: As in StreamPart.
        last_review: As in StreamPart.
    """

    places: Tensor
    source: Tensor
    plan: RunPlan
    goes_on: bool
    is_cut: bool
    last_review: int


@dataclass(frozen=True)
class GpuBatch:
    """A batch for the GPU kernels.

    Attributes:
        rows: N stored rows in time order.
        streams: The parts of each stream, in the order of the network.
        back: Place of each row in the last stream's order, int32 [N].
    """

    rows: StoredRows
    streams: tuple[tuple[GpuPart, ...], ...]
    back: Tensor


def gpu_batch(rows: StoredRows, layouts: Sequence[StreamLayout], part_rows: int) -> GpuBatch:
    """Make a batch with every stream cut into parts of at most part_rows rows."""
    back, streams = torch.arange(len(rows)), []
    for layout in layouts:
        streams.append(tuple(_gpu_part(part, back) for part in cut_stream(layout, part_rows)))
        back = layout.inverse
    return GpuBatch(rows, tuple(streams), _short(back))


def coded_entities(entities: Mapping[str, Tensor]) -> Tensor:
    """The entities of the streams with identity codes, [codes, N], in the order of the codes' numbers in the hash."""
    by_number = sorted(CODES, key=lambda code: code.number)
    return torch.stack([entities[code.stream] for code in by_number])


def _gpu_part(part: StreamPart, before: Tensor) -> GpuPart:
    """One part; `before` has the place of each row in the previous stream's order, int64 [N]."""
    places, plan = _short(before[part.places]), part.layout.groups.runs
    return GpuPart(places, _short(part.source), plan, part.goes_on, part.is_cut, part.last_review)


def _short(places: Tensor) -> Tensor:
    """Convert to int32 to halve the memory; no batch has 2^31 rows."""
    return places.to(torch.int32)
