"""Segments -> Batch: rows of several sequences side by side, without padding."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rwkv.data.segments import Segment
from rwkv.model.inputs import SequenceDraw, as_int64, cycles, encode_inputs, row_codes
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.vocab import STREAMS


@dataclass(frozen=True)
class BatchLabels:
    """What the rows predict, [N]: see rwkv.data.segments.Labels. elapsed_s float32, rating int64 (1..4), y float32."""

    has_label: Tensor
    elapsed_s: Tensor
    rating: Tensor
    y: Tensor
    is_equalize: Tensor


@dataclass(frozen=True)
class Batch:
    """N rows of S sequences, in time order within each sequence.

    features float32 [N, 24]. is_query bool [N]. entities: per stream int32 [N], numbers of identity codes within the
    user's history.
    sequence int64 [N]: which sequence a row belongs to. prefix int64 [S], phases int64 [S, 7]: their SequenceDraw.
    day, first_day int32 [N]. layouts: one a stream, in the order of the network.
    """

    features: Tensor
    is_query: Tensor
    entities: dict[str, Tensor]
    sequence: Tensor
    prefix: Tensor
    phases: Tensor
    day: Tensor
    first_day: Tensor
    layouts: tuple[StreamLayout, ...]
    labels: BatchLabels

    def __len__(self) -> int:
        return len(self.features)

    def inputs(self, part: slice = slice(None)) -> Tensor:
        """The network's inputs, float32 [n, 92], of all rows or of a slice of them."""
        sequence = self.sequence[part]
        codes = row_codes(self.prefix[sequence], {stream: entity[part] for stream, entity in self.entities.items()})
        calendar = cycles(self.day[part], self.first_day[part], self.phases[sequence])
        return encode_inputs(self.features[part], codes, calendar)

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return self.map(lambda x: x.to(device, non_blocking=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with all its tensors changed, those of its layouts and their plans included."""
        return Batch(
            **{name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)},
            entities={stream: change(ids) for stream, ids in self.entities.items()},
            layouts=tuple(layout.map(change) for layout in self.layouts),
            labels=BatchLabels(**{name: change(value) for name, value in vars(self.labels).items()}),
        )


def collate(segments: list[Segment], draws: list[SequenceDraw]) -> Batch:
    """Put sequences into one batch; draws: the random encodings of each. Raises ValueError if none or unlike."""
    if not segments:
        raise ValueError("a batch needs at least one segment")
    if len(draws) != len(segments):
        raise ValueError(f"{len(segments)} segments, {len(draws)} draws")
    sequence = np.repeat(np.arange(len(segments)), [len(segment) for segment in segments])
    is_query = _join([segment.is_query for segment in segments])
    labels = [segment.labels for segment in segments]
    return Batch(
        features=_join([segment.features for segment in segments]),
        is_query=is_query,
        entities={stream: _join([segment.codes[stream] for segment in segments]) for stream in STREAMS},
        sequence=torch.from_numpy(sequence),
        prefix=torch.tensor([as_int64(draw.prefix) for draw in draws]),
        phases=torch.tensor([draw.phases for draw in draws]),
        day=_join([segment.day for segment in segments]),
        first_day=_join([segment.first_day for segment in segments]),
        layouts=tuple(pack_stream(_distinct_entities(segments, stream), is_query) for stream in STREAMS),
        labels=BatchLabels(
            has_label=_join([label.has_label for label in labels]),
            elapsed_s=_join([label.elapsed_s.astype(np.float32) for label in labels]),
            rating=_join([label.rating.astype(np.int64) for label in labels]),
            y=_join([label.y.astype(np.float32) for label in labels]),
            is_equalize=_join([label.is_equalize for label in labels]),
        ),
    )


def _join(columns: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(columns))


def _distinct_entities(segments: list[Segment], stream: str) -> Tensor:
    """Entity numbers int64 [N] that no two sequences share."""
    numbers, start = [], 0
    for segment in segments:
        ids = segment.ids[stream]
        numbers.append(ids.astype(np.int64) + start)
        start += int(ids.max(initial=-1)) + 1
    return _join(numbers)
