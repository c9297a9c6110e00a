"""The integer columns of rwkv.data.history, made one review at a time with no future in reach (spec 3 and 7)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rwkv.data.history import Ints, ReviewContext, RevlogTable
from rwkv.vocab import STREAMS


@dataclass(frozen=True)
class Review:
    """One review, as a row of a RevlogTable and where its card belongs.

    card, note, deck, preset: numbers in order of first appearance in the history. elapsed_days and elapsed_s are -1 on
    the card's first review. rating, state and duration_ms are the answer, unknown before it.
    """

    review_th: int
    card: int
    note: int
    deck: int
    preset: int
    note_missing: bool
    deck_missing: bool
    preset_missing: bool
    day_offset: int
    elapsed_days: int
    elapsed_s: int
    rating: int
    state: int
    duration_ms: int

    @property
    def entities(self) -> dict[str, int]:
        """The number of its entity in every stream."""
        return dict(zip(STREAMS, (self.card, self.deck, self.note, self.preset, 0), strict=True))


def reviews_of(table: RevlogTable) -> Iterator[Review]:
    """The reviews of a history in time order."""
    of_review = ("review_th", "card", "day_offset", "elapsed_days", "elapsed_s", "rating", "state", "duration_ms")
    for row in range(len(table)):
        card = table.card[row]
        yield Review(
            **{name: getattr(table, name)[row].item() for name in of_review},
            **{name: column[card].item() for name, column in vars(table.cards).items()},
        )


@dataclass(frozen=True)
class _CardPast:
    """What a card's reviews so far leave behind. The sums [1] are arrays, which wrap around as those of a history."""

    elapsed_days_sum: Ints
    elapsed_s_sum: Ints
    review_th: int
    new_cards: int
    first_day: int


class PastCounters:
    """Everything about the past of one person that the features of the next review need.

    `context` looks at a review without taking it in, `commit` takes it in. Reviews come in time order. Source: spec 3.
    """

    def __init__(self) -> None:
        self._cards: dict[int, _CardPast] = {}
        self._new_cards = 0
        self._first_day: int | None = None
        self._today: int | None = None
        self._new_cards_today = 0
        self._reviews_today = 0

    def context(self, review: Review) -> ReviewContext:
        """The columns [1] of a review that was not committed: the same as rwkv.data.history.review_context gives."""
        past = self._cards.get(review.card)
        is_new = int(review.elapsed_days == -1)
        same_day = review.day_offset == self._today
        days, seconds = self._sums_with(review)
        return ReviewContext(
            elapsed_days=_one(review.elapsed_days),
            elapsed_days_cumulative=days,
            elapsed_s=_one(review.elapsed_s),
            elapsed_s_cumulative=seconds,
            duration_ms=_one(review.duration_ms),
            rating=_one(review.rating),
            state=_one(review.state),
            note_missing=np.array([review.note_missing]),
            deck_missing=np.array([review.deck_missing]),
            preset_missing=np.array([review.preset_missing]),
            day_offset_diff=_one(0 if self._today is None else review.day_offset - self._today),
            new_cards_since=_one(0 if past is None else self._new_cards + is_new - past.new_cards),
            reviews_since=_one(0 if past is None else max(0, review.review_th - past.review_th - 1)),
            new_cards_today=_one(is_new + (self._new_cards_today if same_day else 0)),
            reviews_today=_one(self._reviews_today if same_day else 0),
        )

    def days(self, review: Review) -> tuple[int, int]:
        """Days since the history's first: of the review, and of its card's first review."""
        day = 0 if self._first_day is None else review.day_offset - self._first_day
        past = self._cards.get(review.card)
        return day, day if past is None else past.first_day

    def commit(self, review: Review) -> None:
        """Count a review, once its answer is known."""
        is_new = int(review.elapsed_days == -1)
        sums, (_, first_day) = self._sums_with(review), self.days(review)
        self._new_cards += is_new
        self._cards[review.card] = _CardPast(*sums, review.review_th, self._new_cards, first_day)
        if self._first_day is None:
            self._first_day = review.day_offset
        if review.day_offset != self._today:
            self._today = review.day_offset
            self._new_cards_today = self._reviews_today = 0
        self._new_cards_today += is_new
        self._reviews_today += 1

    def _sums_with(self, review: Review) -> tuple[Ints, Ints]:
        """The card's cumulative elapsed_days and elapsed_s [1], this review included."""
        days, seconds = _one(review.elapsed_days), _one(review.elapsed_s)
        past = self._cards.get(review.card)
        return (days, seconds) if past is None else (past.elapsed_days_sum + days, past.elapsed_s_sum + seconds)


def _one(value: int) -> Ints:
    return np.array([value], np.int64)
