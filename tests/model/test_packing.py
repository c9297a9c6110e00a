"""Packing rows into the groups of a stream, checked row by row against spec 4."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwkv.model.packing import StreamLayout, pack_stream, whole_stream
from rwkv.model.state import LayerState, empty_state

ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=120)


def pack(rows: list[tuple[int, bool]]) -> tuple[StreamLayout, Tensor, Tensor]:
    """The layout of (entity, is_query) rows, and both columns. Entity numbers are neither dense nor positive."""
    entity = torch.tensor([7 * number - 10 for number, _ in rows], dtype=torch.int32)
    is_query = torch.tensor([query for _, query in rows], dtype=torch.bool)
    return pack_stream(entity, is_query), entity, is_query


def entities_of(layout: StreamLayout, entity: Tensor) -> list[int]:
    """The entity of each group."""
    return entity[layout.order][layout.groups.offsets[:-1]].tolist()


def earlier_reviews(entity: Tensor, is_query: Tensor, row: int) -> list[int]:
    """The earlier review rows of the row's entity, in time order."""
    return [i for i in range(row) if entity[i] == entity[row] and not is_query[i]]


@given(rows=ROWS)
def test_groups_hold_the_rows_of_one_entity_in_time_order(rows: list[tuple[int, bool]]) -> None:
    layout, entity, is_query = pack(rows)
    offsets = layout.groups.offsets
    assert offsets[0] == 0
    assert offsets[-1] == len(rows)
    assert layout.groups.groups == len(set(entity.tolist())) == len(layout.last_review)
    for group, (start, stop) in enumerate(pairwise(offsets.tolist())):
        members = layout.order[start:stop]
        assert len(set(entity[members].tolist())) == 1
        assert members.tolist() == sorted(members.tolist())
        assert set(layout.group[start:stop].tolist()) == {group}
    assert torch.equal(layout.groups.is_query, is_query[layout.order])


@given(rows=ROWS)
def test_inverse_undoes_the_order(rows: list[tuple[int, bool]]) -> None:
    layout, entity, _ = pack(rows)
    everyone = torch.arange(len(rows))
    assert torch.equal(layout.order[layout.inverse], everyone)
    assert torch.equal(layout.inverse[layout.order], everyone)
    assert torch.equal(entity[layout.order][layout.inverse], entity)


@given(rows=ROWS)
def test_rows_are_shifted_to_the_latest_earlier_review(rows: list[tuple[int, bool]]) -> None:
    layout, entity, is_query = pack(rows)
    shifted = torch.arange(len(rows))[layout.order][layout.source][layout.inverse]
    for row in range(len(rows)):
        before = earlier_reviews(entity, is_query, row)
        assert shifted[row] == (before[-1] if before else row)
        place = layout.previous_review[layout.inverse[row]]
        assert place == (layout.inverse[before[-1]] if before else -1)


def left_behind(x: Tensor, layout: StreamLayout, before: LayerState | None) -> LayerState:
    """The state after a whole stream, of which the rows x [N, 1] are both shifts and the last row the recurrence's."""
    seen = torch.zeros(layout.groups.groups, dtype=torch.bool) if before is None else before.seen
    part = whole_stream(layout, seen, keeps_states=True)
    last = x[part.order][part.last_review.clamp(min=0)]
    after = part.state_after(before, last, -last, torch.zeros(part.kept, 1, 1, 1))
    assert after is not None
    assert torch.equal(after.channel_shift, -after.time_shift)
    return after


@given(rows=ROWS.filter(len), cut=st.floats(0, 1, exclude_max=True))
def test_rows_are_shifted_to_the_last_review_of_the_previous_batch(rows: list[tuple[int, bool]], cut: float) -> None:
    """A cut at any row, with entities on one side only. Each row's x is its number."""
    _, entity, is_query = pack(rows)
    at = int(cut * len(rows))
    x = torch.arange(len(rows), dtype=torch.float32)[:, None]
    before, after = pack_stream(entity[:at], is_query[:at]), pack_stream(entity[at:], is_query[at:])
    left = left_behind(x[:at], before, None) if at else None
    carried = empty_state(1, after.groups.groups, 1, 1)[0]
    group_of = {number: group for group, number in enumerate(entities_of(before, entity[:at]))}
    for group, number in enumerate(entities_of(after, entity[at:])):
        if left is not None and number in group_of:
            for name, column in vars(carried).items():
                column[group] = getattr(left, name)[group_of[number]]

    with_carried = torch.cat([x[at:][after.order], carried.time_shift])
    shifted = with_carried[after.source_after(carried.seen)][after.inverse].flatten()
    for row in range(at, len(rows)):
        earlier = earlier_reviews(entity, is_query, row)
        assert shifted[row - at] == (earlier[-1] if earlier else row)
    last = left_behind(x[at:], after, carried)
    for group, number in enumerate(entities_of(after, entity[at:])):
        reviews = torch.nonzero((entity == number) & ~is_query).flatten().tolist()
        assert bool(last.seen[group]) == bool(reviews)
        assert not reviews or last.time_shift[group] == reviews[-1]


@given(rows=ROWS)
def test_every_row_has_one_place_among_the_chunks(rows: list[tuple[int, bool]]) -> None:
    groups = pack(rows)[0].groups
    chunk_length = groups.chunks.chunk_row.shape[1]
    places = groups.chunks.place.tolist()
    assert len(set(places)) == len(rows)
    assert torch.equal(groups.chunks.chunk_row.flatten()[groups.chunks.place], torch.arange(len(rows)))
    assert torch.equal(groups.chunks.writes.flatten()[groups.chunks.place], ~groups.is_query)
    assert int(groups.chunks.writes.sum()) == int((~groups.is_query).sum())
    assert sum(groups.chunks.chunks_of_step) == len(groups.chunks.chunk_row)
    assert groups.chunks.chunks_of_step == tuple(sorted(groups.chunks.chunks_of_step, reverse=True))
    chunks = (groups.offsets.diff() + chunk_length - 1) // chunk_length
    assert [int((chunks > step).sum()) for step in range(len(groups.chunks.chunks_of_step))] == list(
        groups.chunks.chunks_of_step
    )


def test_a_layout_moves_to_a_device_with_all_its_parts() -> None:
    """Existing plans move along; others are made when first used."""
    meta = torch.device("meta")
    on_cpu = pack([(1, False), (0, True), (1, True)])[0]
    assert on_cpu.groups.chunks is not None
    assert on_cpu.groups.runs is not None
    layout = on_cpu.to(meta)
    parts = (layout, layout.groups, layout.groups.chunks, layout.groups.runs)
    tensors = [x for part in parts for x in vars(part).values() if isinstance(x, Tensor)]
    assert len(tensors) == 6 + 2 + 4 + 6
    assert {x.device for x in tensors} == {meta}
