"""A history is decoded from its compact bytes exactly, with its dtypes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rwkv.data.codec import decode_cards, decode_part, encode_cards, encode_part
from rwkv.data.excerpts import whole_excerpt
from rwkv.data.history import CORRECTIONS, CardTable, RevlogTable, number_by_appearance
from tests.helpers import assert_same_table, card_tables, make_table, plain_cards, random_revlog, tables

INT32, INT64 = np.iinfo(np.int32), np.iinfo(np.int64)


def encoded(table: RevlogTable, is_key: np.ndarray) -> tuple[bytes, bytes]:
    return encode_part(whole_excerpt(table, is_key)), encode_cards(table.cards)


def assert_round_trip(table: RevlogTable, is_key: np.ndarray) -> int:
    """Returns the number of bytes."""
    part, cards = encoded(table, is_key)
    stored = decode_part(table.user, part, decode_cards(cards))
    assert_same_table(stored.table, table)
    assert stored.is_key.dtype == bool
    np.testing.assert_array_equal(stored.is_key, is_key)
    return len(part) + len(cards)


@st.composite
def arbitrary_tables(draw: st.DrawFn) -> RevlogTable:
    """Any values that the columns can hold, whether or not a person could have made them."""
    reviews = draw(st.integers(1, 30))

    def column(dtype: type[np.integer], least: int, most: int) -> np.ndarray:
        return draw(hnp.arrays(dtype, reviews, elements=st.integers(least, most)))

    card, first = number_by_appearance(column(np.int64, 0, 9))
    steps = column(np.int64, 1, INT32.max // 30)
    return RevlogTable(
        user=draw(st.integers(1, INT32.max)),
        review_th=np.cumsum(steps).astype(np.int32),
        card=card.astype(np.int32),
        rating=column(np.int8, 1, 4),
        state=column(np.int8, -128, 127),
        duration_ms=column(np.int64, 0, INT64.max),
        day_offset=np.sort(column(np.int32, INT32.min, INT32.max)),
        elapsed_days=column(np.int32, -1, INT32.max),
        elapsed_s=column(np.int64, -1, INT64.max),
        cards=draw(card_tables(len(first))),
    )


@given(table=tables(), bits=st.integers(0, 2**40 - 1))
def test_histories_round_trip(table: RevlogTable, bits: int) -> None:
    assert_round_trip(table, np.array([bits >> row & 1 for row in range(len(table))], bool))


@given(table=arbitrary_tables())
def test_any_values_round_trip(table: RevlogTable) -> None:
    assert_round_trip(table, np.ones(len(table), bool))


@pytest.mark.parametrize("extreme", ["least", "most"])
def test_extremes_round_trip(extreme: str) -> None:
    least = extreme == "least"
    columns = {
        "card_id": [5, 5, 3],
        "rating": 3 * [1 if least else 4],
        "state": 3 * [-128 if least else 127],
        "duration": 3 * [0 if least else INT64.max],
        "day_offset": 3 * [INT32.min if least else INT32.max],
        "elapsed_days": 3 * [-1 if least else INT32.max],
        "elapsed_seconds": 3 * [-1 if least else INT64.max],
    }
    review_th = [1, 2, 3] if least else [INT32.max - 2, INT32.max - 1, INT32.max]
    assert_round_trip(make_table(columns, review_th=review_th), np.zeros(3, bool))


def test_days_from_least_to_most_round_trip() -> None:
    columns = {
        "card_id": [1, 2, 1],
        "rating": [3, 3, 3],
        "state": [0, 0, 2],
        "duration": [0, INT64.max, 0],
        "day_offset": [INT32.min, 0, INT32.max],
        "elapsed_days": [-1, INT32.max, 0],
        "elapsed_seconds": [INT64.max, -1, 0],
    }
    assert_round_trip(make_table(columns), np.array([True, False, True]))


def test_a_single_review_round_trips() -> None:
    assert_round_trip(make_table(random_revlog(1, reviews=1, cards=1)), np.ones(1, bool))


def test_a_history_of_every_width_round_trips() -> None:
    """Differences that need one, two, four and eight bytes."""
    for power in range(63):
        columns = random_revlog(power, reviews=5, cards=3)
        columns["duration"] = np.array([0, 2**power - 1, 2**power, 2**power // 2, 1])
        assert_round_trip(make_table(columns), np.zeros(5, bool))


def test_shared_notes_and_missing_flags_round_trip() -> None:
    cards = CardTable(
        note=np.array([0, 1, 0, 2], np.int32),
        deck=np.array([0, 0, 1, 0], np.int32),
        preset=np.array([0, 0, 1, 0], np.int32),
        note_missing=np.array([False, True, False, False]),
        deck_missing=np.array([False, False, True, False]),
        preset_missing=np.array([True, False, True, True]),
    )
    table = make_table(random_revlog(0, reviews=4, cards=1), plain_cards(1))
    four = make_table({**vars_as_columns(table), "card_id": [9, 8, 7, 6]}, cards)
    assert_round_trip(four, np.zeros(4, bool))


def vars_as_columns(table: RevlogTable) -> dict[str, np.ndarray]:
    """The columns of a table under the names of the dataset."""
    return {
        "rating": table.rating,
        "state": table.state,
        "duration": table.duration_ms,
        "day_offset": table.day_offset,
        "elapsed_days": table.elapsed_days,
        "elapsed_seconds": table.elapsed_s,
    }


def test_notices_are_not_stored() -> None:
    table = make_table(random_revlog(2, reviews=20, cards=4))
    noted = replace(table, corrected={next(iter(CORRECTIONS)): 3})
    assert noted.notices
    is_key = np.zeros(20, bool)
    part, cards = encoded(noted, is_key)
    assert decode_part(table.user, part, decode_cards(cards)).table.notices == ()
    assert (part, cards) == encoded(table, is_key)


def test_a_plain_history_is_compact() -> None:
    """Well below the 45 bytes of its columns."""
    table = make_table(random_revlog(3, reviews=5000, cards=400))
    assert assert_round_trip(table, np.zeros(5000, bool)) < 12 * len(table)
