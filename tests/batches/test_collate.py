"""Collated batches: columns, entities, layouts and inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwkv.batches.collate import Batch, collate
from rwkv.data.history import RevlogTable
from rwkv.data.segments import Segment, cut_segment, whole_history
from rwkv.model.inputs import SequenceDraw, counter_hash, draw_sequence
from rwkv.model.packing import pack_stream
from rwkv.model.spec import PUBLISHED
from rwkv.vocab import FEATURE_NAMES, STREAMS
from tests.helpers import make_table, random_revlog, tables

# Columns of the inputs (spec 3): features, then 12 codes of the card, 12 of the note and others, then cycles.
FEATURES = len(FEATURE_NAMES)
CODES_OF_CARD, CODES_OF_NOTE = slice(FEATURES, FEATURES + 12), slice(FEATURES + 12, FEATURES + 24)
CYCLE = slice(FEATURES + 40, FEATURES + 44)


def segment_of(table: RevlogTable) -> Segment:
    return whole_history(table, table.review_th % 3 == 0)


def some_segment(seed: int, reviews: int = 20) -> Segment:
    return segment_of(make_table(random_revlog(seed, reviews, cards=5), user=seed))


def batch_of(segments: list[Segment], seed: int = 5) -> Batch:
    return collate(segments, [draw_sequence(segment.user, seed, number) for number, segment in enumerate(segments)])


SEGMENTS = st.lists(tables(max_reviews=12).map(segment_of), min_size=1, max_size=3)


@given(segments=SEGMENTS)
def test_columns_are_those_of_the_segments_in_order(segments: list[Segment]) -> None:
    batch = batch_of(segments)
    assert len(batch) == sum(map(len, segments))
    for number, segment in enumerate(segments):
        rows = batch.sequence == number
        labels = segment.labels
        columns = [
            (batch.features, segment.features, torch.float32),
            (batch.is_query, segment.is_query, torch.bool),
            (batch.day, segment.day, torch.int32),
            (batch.first_day, segment.first_day, torch.int32),
            (batch.labels.has_label, labels.has_label, torch.bool),
            (batch.labels.elapsed_s, labels.elapsed_s.astype(np.float32), torch.float32),
            (batch.labels.rating, labels.rating, torch.int64),
            (batch.labels.y, labels.y, torch.float32),
            (batch.labels.is_equalize, labels.is_equalize, torch.bool),
            *((batch.entities[stream], segment.ids[stream], torch.int32) for stream in STREAMS),
        ]
        for ours, theirs, dtype in columns:
            assert ours.dtype == dtype
            np.testing.assert_array_equal(ours[rows], theirs)
    assert batch.sequence.tolist() == sorted(batch.sequence.tolist())


@given(segments=SEGMENTS)
def test_streams_group_rows_of_one_entity_of_one_sequence(segments: list[Segment]) -> None:
    batch = batch_of(segments)
    assert len(batch.layouts) == len(STREAMS)
    for stream, layout in zip(STREAMS, batch.layouts, strict=True):
        group = layout.group[layout.inverse].tolist()
        pairs = list(zip(batch.sequence.tolist(), batch.entities[stream].tolist(), strict=True))
        assert len(set(zip(group, pairs, strict=True))) == len(set(group)) == len(set(pairs))
        assert torch.equal(layout.groups.is_query, batch.is_query[layout.order])
        for start, stop in zip(layout.groups.offsets[:-1].tolist(), layout.groups.offsets[1:].tolist(), strict=True):
            members = layout.order[start:stop].tolist()
            assert members == sorted(members)


def test_a_single_segment_is_packed_by_its_own_ids() -> None:
    segment = some_segment(3)
    batch = batch_of([segment])
    for stream, layout in zip(STREAMS, batch.layouts, strict=True):
        expected = pack_stream(torch.from_numpy(segment.ids[stream]), batch.is_query)
        assert torch.equal(layout.order, expected.order)
        assert torch.equal(layout.previous_review, expected.previous_review)


def test_a_user_twice_in_a_batch_is_two_sequences() -> None:
    """Two segments of one user share no groups and, with separate draws, no codes."""
    table = make_table(random_revlog(1, 40, cards=4))
    halves = [cut_segment(table, np.zeros(40, bool), start, start + 20, n) for n, start in enumerate((0, 20))]
    batch = batch_of(halves)
    for layout in batch.layouts:
        group = layout.group[layout.inverse]
        assert not set(group[batch.sequence == 0].tolist()) & set(group[batch.sequence == 1].tolist())
    first, second = (batch.inputs()[batch.sequence == number, CODES_OF_CARD].unique(dim=0) for number in (0, 1))
    assert not torch.equal(first, second)


@given(segments=SEGMENTS)
def test_inputs_are_those_of_each_segment_alone(segments: list[Segment]) -> None:
    draws = [draw_sequence(segment.user, 5, number) for number, segment in enumerate(segments)]
    inputs = collate(segments, draws).inputs()
    assert inputs.dtype == torch.float32
    assert inputs.shape == (sum(map(len, segments)), PUBLISHED.inputs)
    alone = [collate([segment], [draw]).inputs() for segment, draw in zip(segments, draws, strict=True)]
    assert torch.equal(inputs, torch.cat(alone))


def test_inputs_hold_features_codes_and_cycles() -> None:
    """An arbitrary row; its code and its first cycle by hand."""
    segments = [some_segment(1), some_segment(2)]
    batch = batch_of(segments)
    row, segment, draw = 11, segments[1], draw_sequence(2, 5, 1)
    inputs = batch.inputs()[batch.sequence == 1][row]
    np.testing.assert_array_equal(inputs[:FEATURES], segment.features[row])
    note = int(segment.ids["note_id"][row])
    assert inputs[CODES_OF_NOTE].tolist() == [counter_hash(5, 1, 2, 1, note, c) % 4 - 1.5 for c in range(12)]
    angles = [2 * np.pi * ((draw.phases[0] + days) % 3) / 3 for days in (segment.day[row], segment.first_day[row])]
    # Rounded to float32.
    np.testing.assert_allclose(inputs[CYCLE], [f(a) for a in angles for f in (np.sin, np.cos)], rtol=0, atol=1e-7)


def test_prefixes_of_all_64_bits_fit() -> None:
    segment = some_segment(1)
    for prefix in (0, 2**63 - 1, 2**63, 2**64 - 1):
        batch = collate([segment], [SequenceDraw(prefix, (0,) * 7)])
        card = int(segment.ids["card_id"][0])
        assert batch.inputs()[0, CODES_OF_CARD].tolist() == [
            counter_hash(0, card, c, start=prefix) % 4 - 1.5 for c in range(12)
        ]


def test_a_batch_moves_to_a_device_with_all_its_tensors() -> None:
    meta = torch.device("meta")
    batch = batch_of([some_segment(1)]).to(meta)
    held = [*vars(batch).values(), *batch.entities.values(), *vars(batch.labels).values()]
    held += [x for layout in batch.layouts for part in (layout, layout.groups) for x in vars(part).values()]
    tensors = [x for x in held if isinstance(x, Tensor)]
    assert len(tensors) == 7 + 5 + 5 + 5 * 8
    assert {x.device for x in tensors} == {meta}


def test_segments_are_not_changed() -> None:
    segment = some_segment(4)
    copy = replace(segment, features=segment.features.copy(), ids={k: v.copy() for k, v in segment.ids.items()})
    batch_of([segment, segment]).features.zero_()
    np.testing.assert_array_equal(segment.features, copy.features)
    for stream in STREAMS:
        np.testing.assert_array_equal(segment.ids[stream], copy.ids[stream])


def test_no_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        collate([], [])


def test_every_segment_needs_its_draw() -> None:
    with pytest.raises(ValueError, match="2 segments, 1 draws"):
        collate([some_segment(1), some_segment(2)], [draw_sequence(1)])
