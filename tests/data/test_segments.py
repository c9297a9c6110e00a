"""Rows, labels and entities of segments do not depend on the cuts or on the future."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.history import RevlogTable
from rwkv.data.segments import Segment, cut_segment, segment_bounds, whole_history
from rwkv.vocab import FEATURE_NAMES, STREAMS
from tests.helpers import assert_same_table, first_reviews, make_table, random_revlog, revlog_columns, tables

DAY_OF_WEEK = FEATURE_NAMES.index("day_of_week")


def segments_of(table: RevlogTable, is_key: np.ndarray, max_rows: int) -> list[Segment]:
    bounds = segment_bounds(table, max_rows)
    return [cut_segment(table, is_key, int(start), int(stop), i) for i, (start, stop, _) in enumerate(bounds)]


def some_keys(table: RevlogTable) -> np.ndarray:
    return table.review_th % 3 == 0


def without_day_of_week(features: np.ndarray) -> np.ndarray:
    return np.delete(features, DAY_OF_WEEK, axis=1)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


@given(table=tables(), max_rows=st.integers(0, 100))
def test_segments_hold_the_rows_of_the_whole_history(table: RevlogTable, max_rows: int) -> None:
    """All but the columns that count days from the segment's own beginning."""
    is_key = some_keys(table)
    whole = whole_history(table, is_key)
    parts = segments_of(table, is_key, max_rows)
    np.testing.assert_array_equal(
        joined([without_day_of_week(part.features) for part in parts]), without_day_of_week(whole.features)
    )
    np.testing.assert_array_equal(joined([part.is_query for part in parts]), whole.is_query)
    np.testing.assert_array_equal(joined([part.review_th for part in parts]), whole.review_th)
    for stream in STREAMS:
        np.testing.assert_array_equal(joined([part.ids[stream] for part in parts]), whole.ids[stream])
    for name, column in vars(whole.labels).items():
        np.testing.assert_array_equal(joined([getattr(part.labels, name) for part in parts]), column, err_msg=name)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert {part.user for part in parts} == {table.user}


@given(table=tables(), max_rows=st.integers(0, 100))
def test_days_count_from_the_segments_first_day(table: RevlogTable, max_rows: int) -> None:
    day_of_review = dict(zip(table.review_th.tolist(), table.day_offset.tolist(), strict=True))
    for part in segments_of(table, some_keys(table), max_rows):
        days = np.array([day_of_review[review_th] for review_th in part.review_th.tolist()])
        np.testing.assert_array_equal(part.day, days - days[0])
        first_day: dict[int, int] = {}
        for card, day in zip(part.ids["card_id"].tolist(), part.day.tolist(), strict=True):
            first_day.setdefault(card, day)
        assert part.first_day.tolist() == [first_day[card] for card in part.ids["card_id"].tolist()]
        np.testing.assert_allclose(part.features[:, DAY_OF_WEEK], ((days - days[0]) % 7 - 3) / 3, atol=1e-6)


@given(table=tables(), max_rows=st.integers(0, 100))
def test_bounds_cover_the_history(table: RevlogTable, max_rows: int) -> None:
    bounds = segment_bounds(table, max_rows)
    reviews = bounds[:, 1] - bounds[:, 0]
    assert bounds[0, 0] == 0
    assert bounds[-1, 1] == len(table)
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert np.all(reviews[:-1] == max(1, max_rows // 2))
    assert 1 <= reviews[-1] <= max(1, max_rows // 2)
    assert bounds[:, 2].tolist() == [len(part) for part in segments_of(table, some_keys(table), max_rows)]


@given(table=tables())
def test_rows_and_labels_are_those_of_the_specification(table: RevlogTable) -> None:
    is_key = some_keys(table)
    rows: list[tuple[int, bool, int | None]] = []
    for row in range(len(table)):
        following = next((r for r in range(row + 1, len(table)) if table.card[r] == table.card[row]), None)
        if table.elapsed_days[row] != -1:
            rows.append((row, True, row))
        rows.append((row, False, following))
    expected = {
        "has_label": [label is not None for _, _, label in rows],
        "elapsed_s": [0 if q or label is None else table.elapsed_s[label] for _, q, label in rows],
        "elapsed_days": [0 if q or label is None else table.elapsed_days[label] for _, q, label in rows],
        "rating": [1 if label is None else table.rating[label] for _, _, label in rows],
        "y": [0 if label is None else int(table.rating[label] > 1) for _, _, label in rows],
        "review_th": [-1 if label is None else table.review_th[label] for _, _, label in rows],
        "is_equalize": [False if label is None else is_key[label] for _, _, label in rows],
    }
    whole = whole_history(table, is_key)
    assert whole.is_query.tolist() == [query for _, query, _ in rows]
    assert whole.review_th.tolist() == [table.review_th[row] for row, _, _ in rows]
    for name, column in expected.items():
        assert getattr(whole.labels, name).tolist() == column, name


@given(table=tables(), count=st.integers(1, 39))
def test_later_reviews_do_not_reach_earlier_rows(table: RevlogTable, count: int) -> None:
    """Removing what comes later leaves everything but the labels as it was."""
    count = min(count, len(table))
    whole = whole_history(table, some_keys(table))
    shorter = first_reviews(table, count)
    earlier = whole_history(shorter, some_keys(shorter))
    rows = len(earlier)
    np.testing.assert_array_equal(earlier.features, whole.features[:rows])
    for name in ("is_query", "review_th", "day", "first_day"):
        np.testing.assert_array_equal(getattr(earlier, name), getattr(whole, name)[:rows], err_msg=name)
    for stream in STREAMS:
        np.testing.assert_array_equal(earlier.ids[stream], whole.ids[stream][:rows])


@given(table=tables(), count=st.integers(1, 39), cut=st.integers(2, 30))
def test_changed_later_reviews_do_not_reach_earlier_rows(table: RevlogTable, count: int, cut: int) -> None:
    """Other ratings, times and states from some review on, whole and in segments."""
    count = min(count, len(table))
    later = np.arange(len(table)) >= count
    changed = RevlogTable(
        **{
            **vars(table),
            "rating": np.where(later, 5 - table.rating, table.rating).astype(np.int8),
            "state": np.where(later, 4 - table.state, table.state).astype(np.int8),
            "duration_ms": np.where(later, table.duration_ms // 2 + 77, table.duration_ms),
            "day_offset": (table.day_offset + 5 * later).astype(np.int32),
            "elapsed_days": (table.elapsed_days + (later & (table.elapsed_days > 0))).astype(np.int32),
            "elapsed_s": table.elapsed_s + 999 * (later & (table.elapsed_s > 0)),
        }
    )
    for max_rows in (2 * cut, 2 * len(table)):
        before = segments_of(table, some_keys(table), max_rows)
        after = segments_of(changed, some_keys(changed), max_rows)
        for one, other in zip(before, after, strict=True):
            untouched = one.review_th < (table.review_th[count] if count < len(table) else np.inf)
            np.testing.assert_array_equal(one.features[untouched], other.features[untouched])
            np.testing.assert_array_equal(one.first_day[untouched], other.first_day[untouched])


def test_a_query_row_stands_just_before_its_review_row() -> None:
    table = make_table(random_revlog(11, reviews=100, cards=10))
    whole = whole_history(table, some_keys(table))
    queries = np.flatnonzero(whole.is_query)
    np.testing.assert_array_equal(whole.review_th[queries], whole.review_th[queries + 1])
    assert not whole.is_query[queries + 1].any()
    assert len(whole) == len(table) + np.sum(table.elapsed_days != -1) == whole.features.shape[0]


def test_a_lost_beginning_gets_a_query_row() -> None:
    columns = revlog_columns([1], [0])
    columns["elapsed_days"], columns["elapsed_seconds"] = np.array([4]), np.array([4 * 86_400])
    whole = whole_history(make_table(columns), np.zeros(1, bool))
    assert whole.is_query.tolist() == [True, False]
    assert whole.labels.has_label.tolist() == [True, False]


def test_a_single_review() -> None:
    whole = whole_history(make_table(revlog_columns([7], [0])), np.zeros(1, bool))
    assert (len(whole), whole.is_query.tolist(), whole.labels.has_label.tolist()) == (1, [False], [False])


def test_a_segments_last_reviews_keep_labels_that_lie_in_a_later_segment() -> None:
    table = make_table(revlog_columns([1, 2, 1, 2], [0, 10, 200_000, 300_000], rating=[3, 3, 1, 4]))
    first = cut_segment(table, np.array([False, False, True, False]), 0, 2, 0)
    assert first.labels.has_label.tolist() == [True, True]
    assert first.labels.review_th.tolist() == [3, 4]
    assert first.labels.rating.tolist() == [1, 4]
    assert first.labels.elapsed_s.tolist() == [200_000, 299_990]
    assert first.labels.is_equalize.tolist() == [True, False]


@pytest.mark.parametrize("max_rows", [1, 2, 3])
def test_a_segment_holds_at_least_one_review(max_rows: int) -> None:
    table = make_table(random_revlog(12, reviews=5, cards=2))
    assert len(segment_bounds(table, max_rows)) == 5


def test_cutting_leaves_the_history_alone() -> None:
    columns = random_revlog(13, reviews=80, cards=9)
    table, untouched = make_table(columns), make_table(columns)
    segments_of(table, some_keys(table), 20)
    assert_same_table(table, untouched)
