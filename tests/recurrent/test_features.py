"""The columns of single reviews equal those of whole histories."""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from hypothesis import given

from rwkv.data.history import ReviewContext, RevlogTable
from rwkv.data.segments import whole_history
from rwkv.recurrent.features import Counts, PastCounters, Review, reviews_of
from rwkv.vocab import STREAMS
from tests.helpers import context_of, make_table, random_revlog, revlog_columns, tables


def walk(table: RevlogTable) -> Iterator[tuple[int, Review, PastCounters]]:
    """Each row and review with the counters just before it."""
    past = PastCounters()
    for row, review in enumerate(reviews_of(table)):
        yield row, review, past
        past.commit(review)


def assert_row(ours: ReviewContext, whole: ReviewContext, row: int) -> None:
    for name, column in vars(whole).items():
        value = getattr(ours, name)
        assert value.shape == (1,), name
        assert value.dtype == column.dtype, name
        assert value[0] == column[row], (name, row)


def assert_same_columns(table: RevlogTable) -> None:
    whole = context_of(table)
    for row, review, past in walk(table):
        assert_row(past.context(review), whole, row)


@given(table=tables())
def test_columns_are_those_of_the_whole_history(table: RevlogTable) -> None:
    assert_same_columns(table)


def test_columns_of_a_longer_history() -> None:
    assert_same_columns(make_table(random_revlog(3, reviews=400, cards=50)))


def test_counts_are_the_columns_of_a_context() -> None:
    assert Counts._fields == tuple(field.name for field in fields(ReviewContext))


@given(table=tables())
def test_days_and_entities_are_those_of_the_whole_history(table: RevlogTable) -> None:
    segment = whole_history(table, np.zeros(len(table), bool))
    rows = np.flatnonzero(~segment.is_query)
    for row, review, past in walk(table):
        assert past.days(review) == (segment.day[rows[row]], segment.first_day[rows[row]])
        assert review.entities == {stream: segment.ids[stream][rows[row]] for stream in STREAMS}


def test_reading_the_counters_changes_nothing() -> None:
    table = make_table(random_revlog(4, reviews=60, cards=8))
    whole = context_of(table)
    reviews = list(reviews_of(table))
    for row, review, past in walk(table):
        for other in reviews:
            past.context(other)
            past.days(other)
        assert_row(past.context(review), whole, row)


def test_the_largest_values_sum_as_in_whole_histories() -> None:
    """Two intervals whose sum exceeds 64 bits."""
    columns = revlog_columns([1, 1, 1], [0, 0, 0], duration=2**63 - 1)
    columns["elapsed_seconds"] = np.array([-1, 2**62 + 1, 2**62 + 1])
    assert_same_columns(make_table(columns))
