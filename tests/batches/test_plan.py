"""The plan of batches: grouping (spec 5, "Batches"), the order of epochs, and continuing a run."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.batches.plan import (
    SegmentPlace,
    epoch_order,
    filled_groups,
    fingerprint,
    history_places,
    segment_places,
    share,
    steps_from,
    training_groups,
)
from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from tests.batches.stores import make_store

LIMIT = 50


def places_of(rows: list[int]) -> list[SegmentPlace]:
    """Segments of the given lengths, two for each user."""
    return [SegmentPlace(number // 2, number % 2, 0, count, count) for number, count in enumerate(rows)]


PLACES = st.lists(st.integers(1, LIMIT), max_size=40).map(places_of)


@given(places=PLACES)
def test_every_segment_is_in_one_group(places: list[SegmentPlace]) -> None:
    for groups in (training_groups(places, LIMIT), filled_groups(places, LIMIT)):
        assert Counter(place for group in groups for place in group) == Counter(places)
        assert all(groups)


@given(places=PLACES)
def test_groups_take_the_longest_first_and_all_that_fit(places: list[SegmentPlace]) -> None:
    """Number of segments * rows of the first <= MAX_TRAIN_GLOBAL_LEN, and one more segment would not fit."""
    groups = training_groups(places, LIMIT)
    rows = [place.rows for group in groups for place in group]
    assert rows == sorted(rows, reverse=True)
    for group in groups:
        assert len(group) * group[0].rows <= LIMIT
    for group, _ in pairwise(groups):
        assert (len(group) + 1) * group[0].rows > LIMIT


@given(places=PLACES.filter(bool), parts=st.integers(1, 9))
def test_shares_divide_a_group_in_order_and_evenly(places: list[SegmentPlace], parts: int) -> None:
    shares = [share(tuple(places), part, parts) for part in range(parts)]
    assert [place for each in shares for place in each.places] == places
    longest, total = max(place.rows for place in places), sum(place.rows for place in places)
    before = 0
    for each in shares:
        rows = sum(place.rows for place in each.places)
        assert rows <= total / parts + longest
        if each.places:
            assert each.first_row == before
        before += rows


def test_equal_segments_are_divided_as_evenly_as_possible() -> None:
    for count in range(1, 13):
        group = tuple(places_of([10] * count))
        for parts in range(1, 6):
            counts = [len(share(group, part, parts).places) for part in range(parts)]
            assert max(counts) - min(counts) <= 1


@given(places=PLACES, rng=st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_the_segments(places: list[SegmentPlace], rng: Random) -> None:
    shuffled = places.copy()
    rng.shuffle(shuffled)
    assert training_groups(shuffled, LIMIT) == training_groups(places, LIMIT)


def test_groups_by_hand() -> None:
    groups = training_groups(places_of([10, 25, 7, 25, 26, 12, 1]), LIMIT)
    assert [[place.rows for place in group] for group in groups] == [[26], [25, 25], [12, 10, 7, 1]]


def test_a_segment_may_reach_the_limit_but_not_exceed_it() -> None:
    assert len(training_groups(places_of([LIMIT]), LIMIT)) == 1
    with pytest.raises(InputError) as caught:
        training_groups(places_of([3, 4, 5, LIMIT + 1]), LIMIT)
    for word in ("user 1", "MAX_TRAIN_GLOBAL_LEN", "got: 50", "at least 51", "MAX_BATCH_SIZE"):
        assert word in str(caught.value)


def test_no_segments_make_no_groups() -> None:
    assert training_groups([], LIMIT) == filled_groups([], LIMIT) == []


@given(places=st.lists(st.integers(1, 2 * LIMIT), max_size=40).map(places_of))
def test_packed_groups_keep_the_order_and_fill_the_limit(places: list[SegmentPlace]) -> None:
    groups = filled_groups(places, LIMIT)
    assert [place for group in groups for place in group] == places
    for group in groups:
        assert len(group) == 1 or sum(place.rows for place in group) <= LIMIT
    for group, following in pairwise(groups):
        assert sum(place.rows for place in group) + following[0].rows > LIMIT


def test_places_in_a_store(tmp_path: Path) -> None:
    """30 reviews in segments of 10; users who are not in the store are left out."""
    with make_store(tmp_path, [3, 5]).open() as database:
        store = ReviewStore(database)
        segments, histories = segment_places(store, range(10)), history_places(store, range(10))
        assert [(place.user, place.number, place.start, place.stop) for place in segments] == [
            (user, number, 10 * number, 10 * number + 10) for user in (3, 5) for number in range(3)
        ]
        assert [(place.user, place.number, place.start, place.stop) for place in histories] == [
            (user, 0, 0, 30) for user in (3, 5)
        ]
        for history in histories:
            assert history.rows == sum(place.rows for place in segments if place.user == history.user)
        assert segment_places(store, [4]) == history_places(store, [4]) == []


@given(groups=st.integers(1, 30), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
def test_an_epoch_visits_every_group_once(groups: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(groups, seed, epoch)) == list(range(groups))


def test_orders_differ_by_epoch_and_seed() -> None:
    orders = [epoch_order(20, seed, epoch) for seed in (1, 2) for epoch in range(3)]
    assert len(set(map(tuple, orders))) == len(orders)
    assert epoch_order(20, 1, 0) == orders[0]


@given(groups=st.integers(1, 7), total=st.integers(0, 30), data=st.data())
def test_steps_continue_from_any_step(groups: int, total: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, total))
    steps = [(n // groups, epoch_order(groups, 5, n // groups)[n % groups]) for n in range(total)]
    assert list(steps_from(0, total, groups, 5)) == steps
    assert list(steps_from(first, total, groups, 5)) == steps[first:]


def test_steps_are_planned_lazily() -> None:
    """The shipped EPOCHS = 1000000 is too many to plan in advance."""
    assert next(iter(steps_from(0, 10**6 * 5000, 5000, 1))) == (0, epoch_order(5000, 1, 0)[0])


def test_the_fingerprint_changes_with_one_rating(tmp_path: Path) -> None:
    """The users and segments are the same."""
    fingerprints = []
    for name, change in (("a", 0), ("b", 1), ("c", 0)):
        with make_store(tmp_path / name, [1, 2], change=change).open() as database:
            store = ReviewStore(database)
            fingerprints.append(fingerprint(store, segment_places(store, [1, 2])))
    original, changed, repeated = fingerprints
    assert original == repeated
    assert original != changed
    assert original.partition("histories")[0] == changed.partition("histories")[0]
