"""The store of states keeps its bound and loses nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.errors import StoreError
from rwkv.recurrent.features import reviews_of
from rwkv.recurrent.state_store import StateStore
from tests.helpers import first_reviews
from tests.recurrent.engines import (
    NETWORK,
    after,
    answered,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    now,
    some_history,
)

SIZE = 64


def state(value: float) -> np.ndarray:
    return np.full((1, SIZE), value, np.float32)


@given(
    acts=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["put", "get", "take"]), st.integers(-5, 5))),
    memory=st.sampled_from([0, 1500, 10**6]),
)
def test_a_state_store_is_a_dictionary(acts: list[tuple[int, str, int]], memory: int) -> None:
    store, expected = StateStore(memory), {}
    for number, act, value in acts:
        key = ("card_id", number)
        if act == "put":
            store.put({key: state(value)})
            expected[key] = value
        elif act == "take":
            store.put({key: None})
            expected.pop(key, None)
        stored = store.get(key)
        assert (None if stored is None else float(stored[0, -1])) == expected.get(key)
    assert store.all_keys() == sorted(expected)
    assert {key: float(one[0, 0]) for key, one in store.walk()} == expected
    store.close()


def test_memory_is_bounded(tmp_path: Path) -> None:
    store = StateStore(memory=20 * (4 * SIZE + 400), folder=tmp_path / "states")
    for number in range(500):
        store.put({("card_id", number): state(number), ("user_id", 0): state(-number)})
        assert len(store._held) <= 21
        assert ("user_id", 0) in store._held  # used in every turn
    for number in range(0, 500, 7):
        np.testing.assert_array_equal(store.get(("card_id", number)), state(number))
    assert len(store._held) <= 21
    store.close()


def test_a_kill_leaves_no_file(tmp_path: Path) -> None:
    """The file has no name, so the system frees it with the process."""
    store = StateStore(memory=0, folder=tmp_path / "states")
    store.put({("card_id", number): state(number) for number in range(50)})
    assert not any((tmp_path / "states").iterdir())
    np.testing.assert_array_equal(store.get(("card_id", 7)), state(7))
    store.close()


@contextmanager
def full_disk() -> Iterator[None]:
    error = StoreError("The disk is full.")
    with mock.patch.object(StateStore, "_write", side_effect=error), pytest.raises(StoreError):
        yield


def test_states_and_counters_agree_after_a_full_disk(tmp_path: Path) -> None:
    """Added reviews stay and undone ones are gone, as if there had been space."""
    table = some_history(reviews=60)
    first, rest = first_reviews(table, 30), after(table, 30)
    engine, expected = engine_for(table, memory=0, folder=tmp_path), engine_for(table)
    with full_disk():
        engine.feed(first)
    expected.feed(first)
    one, two = list(reviews_of(rest))[:2]
    for review in (one, two):
        with full_disk():
            engine.answer(review)
        expected.answer(review)
    with full_disk():
        engine.undo(1)
    expected.undo(1)
    assert (engine.reviews, engine.fingerprint) == (31, expected.fingerprint)
    assert everything(engine, tmp_path / "ours") == everything(expected, tmp_path / "theirs")
    engine.close()


def test_predictions_do_not_depend_on_the_bound() -> None:
    table = some_history(61, reviews=150, cards=40)
    small, large = answered(table, memory=50_000), answered(table)
    for card in large.cards:
        assert_equal_to_the_bit(small.predict(now(table, card)), large.predict(now(table, card)))
    fed, roomy = engine_for(table, NETWORK, memory=50_000), engine_for(table, NETWORK)
    np.testing.assert_array_equal(fed.feed(table).p_all, roomy.feed(table).p_all)
    small.close()
    fed.close()
