"""Segments: the rows of consecutive reviews, with features, labels and their entity in every stream (spec 3)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Float32s, Int32s, Ints
from rwkv.data.features import query_features, review_features
from rwkv.data.history import ReviewContext, RevlogTable, order_by_card, review_context
from rwkv.vocab import STREAMS


@dataclass(frozen=True)
class Labels:
    """What each row predicts. All columns [N]; rows without a label hold rating 1, y 0 and elapsed 0.

    elapsed_s, elapsed_days: from the row's review to the labelled one (0 on query rows). review_th: the labelled
    review, -1 where there is none. is_equalize: the labelled review is among the benchmark's keys.
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
    """A sequence of rows as the model sees it. N rows in time order, a review's query row just before its review row.

    ids: per stream int32 [N], the number of the entity in order of first appearance in the user's whole history.
    note_code int32 [N]: the number of the note's identity code, see RevlogTable.
    day, first_day int32 [N]: days since the sequence's first day, of the row and of its card's first row in it.
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
        """Per stream int32 [N], the number of the entity's identity code."""
        return self.ids | {"note_id": self.note_code}


def has_query(elapsed_days: Int32s) -> Bools:
    """Which reviews are preceded by a query row: all but those that say they are a card's first."""
    return elapsed_days != -1


def segment_bounds(table: RevlogTable, max_rows: int) -> Ints:
    """Cut a history into segments of at most max_rows // 2 reviews.

    Returns int64 [segments, 3]: first review (0-based), one past the last, rows.
    """
    starts = np.arange(0, len(table), max(1, max_rows // 2))
    stops = np.append(starts[1:], len(table))
    rows_before = np.append(0, np.cumsum(1 + has_query(table.elapsed_days)))
    return np.stack([starts, stops, rows_before[stops] - rows_before[starts]], axis=1)


def whole_history(table: RevlogTable, is_key: Bools) -> Segment:
    """The user's whole history as one sequence."""
    return cut_segment(table, is_key, 0, len(table), 0)


def cut_segment(table: RevlogTable, is_key: Bools, start: int, stop: int, number: int) -> Segment:
    """The rows of reviews start..stop-1, with counters and labels that know the user's whole history.

    is_key [R]: the review is among the benchmark's keys. number: the segment's number within the user.
    """
    cards = order_by_card(table.card)
    part = slice(start, stop)
    context = review_context(table, cards)
    context = ReviewContext(**{name: column[part] for name, column in vars(context).items()})
    day = (table.day_offset[part] - table.day_offset[start]).astype(np.int64)
    features = review_features(context, day)

    queried = has_query(table.elapsed_days[part])
    review = np.repeat(np.arange(stop - start), 1 + queried)
    is_query = np.append(review[1:] == review[:-1], False)
    rows = np.where(is_query[:, None], query_features(features)[review], features[review])

    card = table.card[part]
    _, first_review, card_in_segment = np.unique(card, return_index=True, return_inverse=True)
    first_day = day[first_review][card_in_segment]
    groups = table.cards
    entity = (card, groups.deck[card], groups.note[card], groups.preset[card], np.zeros_like(card))
    return Segment(
        user=table.user,
        number=number,
        features=rows,
        is_query=is_query,
        review_th=table.review_th[part][review],
        ids={stream: ids[review] for stream, ids in zip(STREAMS, entity, strict=True)},
        note_code=table.note_code[card][review],
        day=day[review].astype(np.int32),
        first_day=first_day[review].astype(np.int32),
        labels=_labels(table, is_key, cards.following[part], start + review, is_query),
    )


def _labels(table: RevlogTable, is_key: Bools, following: Ints, review: Ints, is_query: Bools) -> Labels:
    """Labels of rows: `review` [N] is the row's review in the history; `following` [reviews of the segment]."""
    target = np.where(is_query, review, following[review - review[0]])
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
        is_equalize=has_label & is_key[target],
    )
