"""The integer columns of rwkv.data.history, made one review at a time with no future in reach (spec 3 and 7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rwkv.data.history import ReviewContext, RevlogTable
from rwkv.vocab import STREAMS

# The columns of a ReviewContext that are not integers.
_FLAGS = ("note_missing", "deck_missing", "preset_missing")


class Place(NamedTuple):
    """Where a card belongs: any whole numbers, the same for the same note, deck and preset.

    A missing note is one of the card's own; all missing decks are one deck, all missing presets one preset.
    """

    note: int
    deck: int
    preset: int
    note_missing: bool = False
    deck_missing: bool = False
    preset_missing: bool = False


@dataclass(frozen=True)
class Review:
    """One review, as a row of a RevlogTable and where its card belongs (see Place).

    review_th grows from review to review, by one where none was left out. elapsed_days and elapsed_s are since the
    card's review before, -1 on its first. rating, state and duration_ms are the answer, unknown before it; a duration
    is rounded to whole milliseconds, halves to the even one. shares_note_code: the note has the one identity code of
    all notes that share one, see RevlogTable.
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
    duration_ms: float
    shares_note_code: bool = False

    @property
    def entities(self) -> dict[str, int]:
        """Its entity in every stream."""
        return dict(zip(STREAMS, (self.card, self.deck, self.note, self.preset, 0), strict=True))

    @property
    def place(self) -> Place:
        """Where its card belongs."""
        missing = self.note_missing, self.deck_missing, self.preset_missing
        return Place(self.note, self.deck, self.preset, *missing)


def reviews_of(table: RevlogTable) -> Iterator[Review]:
    """The reviews of a history in time order."""
    by_card = vars(table.cards) | {"shares_note_code": table.shares_note_code}
    of_cards = {name: column[table.card].tolist() for name, column in by_card.items()}
    columns = {name: of_cards[name] if name in of_cards else getattr(table, name).tolist() for name in _REVIEW_FIELDS}
    for values in zip(*columns.values(), strict=True):
        yield Review(*values)


_REVIEW_FIELDS = tuple(Review.__dataclass_fields__)

# The columns of a ReviewContext at one review, in its order, and (day, first_day): see `PastCounters.days`.
Counts = tuple[int, ...]
Days = tuple[int, int]


def context_of(counts: Sequence[Counts]) -> ReviewContext:
    """The columns [R] of reviews from their counts."""
    columns = np.array(counts, np.int64).reshape(len(counts), -1).T
    named: dict[str, Any] = dict(zip(ReviewContext.__dataclass_fields__, columns, strict=True))
    return ReviewContext(**named | {name: named[name] != 0 for name in _FLAGS})


class CardPast(NamedTuple):
    """What a card's reviews so far leave behind. The sums wrap around at 64 bits, as those of a history."""

    elapsed_days_sum: int
    elapsed_s_sum: int
    review_th: int
    new_cards: int
    first_day: int
    place: Place


class Totals(NamedTuple):
    """What all reviews so far leave behind; the days are None before the first review."""

    reviews: int = 0
    review_th: int = 0
    new_cards: int = 0
    first_day: int | None = None
    today: int | None = None
    new_cards_today: int = 0
    reviews_today: int = 0


class PastCounters:
    """Everything about the past of one person that the features of the next review need.

    `counts` looks at a review without taking it in, `commit` takes it in. Reviews come in time order. Source: spec 3.
    """

    def __init__(self) -> None:
        self.cards: dict[int, CardPast] = {}
        self.totals = Totals()

    def context(self, review: Review) -> ReviewContext:
        """The columns [1] of a review that was not committed: the same as rwkv.data.history.review_context gives."""
        return context_of([self.counts(review)])

    def counts(self, review: Review) -> Counts:
        """The same as numbers."""
        past, totals = self.cards.get(review.card), self.totals
        is_new = int(review.elapsed_days == -1)
        same_day = review.day_offset == totals.today
        return (
            review.elapsed_days,
            review.elapsed_days if past is None else _wrapped(past.elapsed_days_sum + review.elapsed_days),
            review.elapsed_s,
            review.elapsed_s if past is None else _wrapped(past.elapsed_s_sum + review.elapsed_s),
            int(review.duration_ms),
            review.rating,
            review.state,
            review.note_missing,
            review.deck_missing,
            review.preset_missing,
            0 if totals.today is None else review.day_offset - totals.today,
            0 if past is None else totals.new_cards + is_new - past.new_cards,
            0 if past is None else max(0, review.review_th - past.review_th - 1),
            is_new + (totals.new_cards_today if same_day else 0),
            totals.reviews_today if same_day else 0,
        )

    def days(self, review: Review) -> Days:
        """Days since the history's first: of the review, and of its card's first review."""
        first_day = self.totals.first_day
        day = 0 if first_day is None else review.day_offset - first_day
        past = self.cards.get(review.card)
        return day, day if past is None else past.first_day

    def commit(self, review: Review) -> tuple[CardPast | None, Totals]:
        """Count a review, once its answer is known. Returns what `revert` needs."""
        past, totals = self.cards.get(review.card), self.totals
        is_new = int(review.elapsed_days == -1)
        _, first_day = self.days(review)
        same_day = review.day_offset == totals.today
        self.totals = Totals(
            reviews=totals.reviews + 1,
            review_th=review.review_th,
            new_cards=totals.new_cards + is_new,
            first_day=review.day_offset if totals.first_day is None else totals.first_day,
            today=review.day_offset,
            new_cards_today=is_new + (totals.new_cards_today if same_day else 0),
            reviews_today=1 + (totals.reviews_today if same_day else 0),
        )
        self.cards[review.card] = CardPast(
            elapsed_days_sum=_wrapped((0 if past is None else past.elapsed_days_sum) + review.elapsed_days),
            elapsed_s_sum=_wrapped((0 if past is None else past.elapsed_s_sum) + review.elapsed_s),
            review_th=review.review_th,
            new_cards=self.totals.new_cards,
            first_day=first_day,
            place=review.place,
        )
        return past, totals

    def revert(self, card: int, before: tuple[CardPast | None, Totals]) -> None:
        """Forget the latest review, which was of `card`."""
        past, self.totals = before
        if past is None:
            del self.cards[card]
        else:
            self.cards[card] = past


def _wrapped(value: int) -> int:
    """As a signed number of 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
