"""Whole histories as the kernels for GPUs take them: stored rows, and of each stream nothing that they do not read."""

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
    """What the kernels read of a StreamPart.

    places int32 [n]: where they lie in the order of the stream before; for the first stream, in time order.
    plan: of their groups. source int32 [n], goes_on, is_cut, last_review: as in StreamPart.
    """

    places: Tensor
    source: Tensor
    plan: RunPlan
    goes_on: bool
    is_cut: bool
    last_review: int


@dataclass(frozen=True)
class GpuBatch:
    """rows: N of them, in time order. streams: the parts of each, in the order of the network.

    back int32 [N]: where each row lies in the order of the last stream.
    """

    rows: StoredRows
    streams: tuple[tuple[GpuPart, ...], ...]
    back: Tensor


def gpu_batch(rows: StoredRows, layouts: Sequence[StreamLayout], part_rows: int) -> GpuBatch:
    """Cut every stream into parts of at most part_rows rows."""
    back, streams = torch.arange(len(rows)), []
    for layout in layouts:
        streams.append(tuple(_gpu_part(part, back) for part in cut_stream(layout, part_rows)))
        back = layout.inverse
    return GpuBatch(rows, tuple(streams), _short(back))


def coded_entities(entities: Mapping[str, Tensor]) -> Tensor:
    """Those of the streams that have identity codes, by their number in the hash: [E, N]. entities: [N] a stream."""
    by_number = sorted(CODES, key=lambda code: code.number)
    return torch.stack([entities[code.stream] for code in by_number])


def _gpu_part(part: StreamPart, before: Tensor) -> GpuPart:
    """before int64 [N]: where each row lies in the order of the stream before."""
    places, plan = _short(before[part.places]), part.layout.groups.runs
    return GpuPart(places, _short(part.source), plan, part.goes_on, part.is_cut, part.last_review)


def _short(places: Tensor) -> Tensor:
    """In half the memory: no batch has 2^31 rows."""
    return places.to(torch.int32)
