"""Segments: rows of consecutive reviews with features, labels and entities of every stream (spec 3)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Float32s, Int32s, Ints
from rwkv.data.excerpts import Excerpt, cut_excerpts, review_context, whole_excerpt
from rwkv.data.features import query_features, review_features
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.vocab import FEATURE_NAMES, STREAMS


@dataclass(frozen=True)
class Labels:
    """The targets of rows, in columns [N]. Rows without a label have rating 1, y 0 and elapsed 0.

    Attributes:
        elapsed_s, elapsed_days: Time from the row's review to the labelled one; 0 for query rows.
        review_th: The labelled review; -1 without one.
        is_equalize: Whether the labelled review is a benchmark key.
    """

    has_label: Bools
    elapsed_s: Ints
    elapsed_days: Ints
    rating: npt.NDArray[np.int8]
    y: npt.NDArray[np.int8]
    review_th: Int32s
    is_equalize: Bools


@dataclass(frozen=True)
class Segment:
    """A sequence of N rows in time order, in which a review's query row comes just before its review row.

    Attributes:
        ids: By stream the entity's number, in order of first appearance in the whole history, int32 [N].
        note_code: The number of the note's identity code, int32 [N]; see RevlogTable.
        day, first_day: Days since the sequence's first day, of the row and of its card's first row, int32 [N].
    """

    user: int
    number: int
    features: Float32s
    is_query: Bools
    review_th: Int32s
    ids: dict[str, Int32s]
    note_code: Int32s
    day: Int32s
    first_day: Int32s
    labels: Labels

    def __len__(self) -> int:
        return len(self.is_query)

    @property
    def codes(self) -> dict[str, Int32s]:
        """By stream the number of the entity's identity code, int32 [N]."""
        return self.ids | {"note_id": self.note_code}


def has_query(elapsed_days: Int32s) -> Bools:
    """Whether each review has a query row: all reviews except those recorded as a card's first."""
    return elapsed_days != -1


def segment_bounds(table: RevlogTable, max_rows: int) -> Ints:
    """Cut a history into segments of at most max_rows // 2 reviews.

    Returns:
        int64 [segments, 3]: the first review (0-based), one past the last, and the number of rows.
    """
    starts = np.arange(0, len(table), max(1, max_rows // 2))
    stops = np.append(starts[1:], len(table))
    rows_before = np.append(0, np.cumsum(1 + has_query(table.elapsed_days)))
    return np.stack([starts, stops, rows_before[stops] - rows_before[starts]], axis=1)


def whole_history(table: RevlogTable, is_key: Bools) -> Segment:
    """The whole history as one segment. is_key: whether each review is a benchmark key, bool [R]."""
    return segment_of(whole_excerpt(table, is_key), 0)


def unlabelled_row() -> Segment:
    """A segment of one review row without a label."""
    number, false, column = np.zeros(1, np.int32), np.zeros(1, bool), np.zeros(1, np.int64)
    rating = np.ones(1, np.int8)
    return Segment(
        user=0,
        number=0,
        features=np.zeros((1, len(FEATURE_NAMES)), np.float32),
        is_query=false,
        review_th=number,
        ids=dict.fromkeys(STREAMS, number),
        note_code=number,
        day=number,
        first_day=number,
        labels=Labels(false, column, column, rating, 0 * rating, number - 1, false),
    )


def cut_segment(table: RevlogTable, is_key: Bools, start: int, stop: int, number: int) -> Segment:
    """The rows of some reviews, with counters and labels from the whole history.

    Args:
        table: The history.
        is_key: Whether each review is a benchmark key, bool [R].
        start, stop: The first review (0-based), and one past the last.
        number: The number of the segment in the history.
    """
    return segment_of(next(cut_excerpts(whole_excerpt(table, is_key), [(start, stop)])), number)


def segment_of(excerpt: Excerpt, number: int) -> Segment:
    """The rows of an excerpt's reviews. number: the number of the segment in the history."""
    cards = order_by_card(excerpt.table.card)
    table = excerpt.table.part(excerpt.own)
    day = (table.day_offset - table.day_offset[0]).astype(np.int64)
    features = review_features(review_context(excerpt, cards), day)

    queried = has_query(table.elapsed_days)
    review = np.repeat(np.arange(len(table)), 1 + queried)
    is_query = np.append(review[1:] == review[:-1], False)
    rows = np.where(is_query[:, None], query_features(features)[review], features[review])

    groups = table.cards
    entity = (
        table.card,
        *(ids[table.card] for ids in (groups.deck, groups.note, groups.preset)),
        np.zeros_like(table.card),
    )
    return Segment(
        user=table.user,
        number=number,
        features=rows,
        is_query=is_query,
        review_th=table.review_th[review],
        ids={stream: ids[review] for stream, ids in zip(STREAMS, entity, strict=True)},
        note_code=table.note_code[table.card][review],
        day=day[review].astype(np.int32),
        first_day=_first_values(day, table.card)[review].astype(np.int32),
        labels=_labels(excerpt, cards.following, excerpt.own.start + review, is_query),
    )


def _first_values(values: Ints, card: Int32s) -> Ints:
    """For each review [n] the value of its card's first one."""
    first = np.empty(card.max() + 1, values.dtype)
    first[card[::-1]] = values[::-1]
    return first[card]


def _labels(excerpt: Excerpt, following: Ints, row: Ints, is_query: Bools) -> Labels:
    """The labels of rows. row: the row's review in the excerpt's table [N]. following: see CardOrder."""
    table = excerpt.table
    target = np.where(is_query, row, following[row])
    has_label = target >= 0
    ahead = has_label & ~is_query
    rating = np.where(has_label, table.rating[target], 1).astype(np.int8)
    return Labels(
        has_label=has_label,
        elapsed_s=np.where(ahead, table.elapsed_s[target], 0),
        elapsed_days=np.where(ahead, table.elapsed_days[target], 0),
        rating=rating,
        y=(rating > 1).astype(np.int8),
        review_th=np.where(has_label, table.review_th[target], -1).astype(np.int32),
        is_equalize=has_label & excerpt.is_key[target],
    )
