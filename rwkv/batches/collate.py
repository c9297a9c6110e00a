"""Collating segments: a batch holds the rows of several sequences one after another, without padding."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rwkv.data.segments import Segment
from rwkv.model.inputs import SequenceDraw, as_int64
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.model.tensor_inputs import cycles, encode_inputs, row_codes
from rwkv.pytree import map_tensors
from rwkv.vocab import STREAMS


@dataclass(frozen=True)
class BatchLabels:
    """The targets of the N rows, as in `rwkv.data.segments.Labels`.

    Attributes:
        has_label: Whether the row predicts anything, bool [N].
        elapsed_s: Seconds from the row's review to the predicted one, float32 [N]; 0 on query rows.
        rating: Rating 1..4 of the predicted review, int64 [N].
        y: Its outcome, float32 [N]: 1 recalled, 0 forgotten.
        is_equalize: Whether the predicted review is one of the benchmark's keys, bool [N].
    """

    has_label: Tensor
    elapsed_s: Tensor
    rating: Tensor
    y: Tensor
    is_equalize: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "BatchLabels":
        """Labels of some of the rows."""
        return map_tensors(lambda x: x[rows], self)

    def to(self, device: torch.device) -> "BatchLabels":
        """A copy on another device."""
        return map_tensors(lambda x: x.to(device), self)


@dataclass(frozen=True)
class Batch:
    """N rows of S sequences, one sequence after another, each in time order.

    Attributes:
        features: Stored features, float32 [N, F].
        is_query: Whether the row is a query, bool [N].
        entities: For each stream, the number of each row's identity code within the user's history, int32 [N].
        sequence: The sequence of each row, int64 [N].
        prefix: Hash prefix of each sequence's random encodings, int64 [S]; see `SequenceDraw`.
        phases: Phases of each sequence's cycles in days, int64 [S, 7]; see `SequenceDraw`.
        day: Days from the first day of the sequence, int32 [N].
        first_day: The day of the card's first row in the sequence, int32 [N].
        layouts: The layout of each stream, in the order of the network.
        labels: The targets of the rows.
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
        """The network's inputs, float32 [n, E], for all rows or for a slice of them."""
        sequence = self.sequence[part]
        codes = row_codes(self.prefix[sequence], {stream: entity[part] for stream, entity in self.entities.items()})
        calendar = cycles(self.day[part], self.first_day[part], self.phases[sequence])
        return encode_inputs(self.features[part], codes, calendar)

    def to(self, device: torch.device) -> "Batch":
        """A copy on another device."""
        return map_tensors(lambda x: x.to(device, non_blocking=True), self)


def collate(segments: list[Segment], draws: list[SequenceDraw]) -> Batch:
    """Put sequences into one batch.

    Args:
        segments: The sequences, at least one.
        draws: The random encodings of each.

    Raises:
        ValueError: There are no segments, or not as many draws.
    """
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
    """Entity numbers that no two sequences share, int64 [N]."""
    numbers, start = [], 0
    for segment in segments:
        ids = segment.ids[stream]
        numbers.append(ids.astype(np.int64) + start)
        start += int(ids.max(initial=-1)) + 1
    return _join(numbers)
