"""The integer columns of rwkv.data.history, computed one review at a time from the past alone (spec 3 and 7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rwkv.data.history import ReviewContext, RevlogTable
from rwkv.vocab import STREAMS

# What is stored as 0 or 1, of a Place and of a ReviewContext.
MISSING_FLAGS = ("note_missing", "deck_missing", "preset_missing")


class Place(NamedTuple):
    """The note, deck and preset of a card, as arbitrary integers.

    A missing note counts as a separate note of the card. All missing decks are one deck, and all missing presets are
    one preset.
    """

    note: int
    deck: int
    preset: int
    note_missing: bool = False
    deck_missing: bool = False
    preset_missing: bool = False


@dataclass(frozen=True)
class Review:
    """One review: a row of a RevlogTable and the place of its card.

    Attributes:
        review_th: Number of the review, ascending; consecutive unless reviews were left out.
        card: Id of the card.
        note: Id of its note.
        deck: Id of its deck.
        preset: Id of its preset.
        note_missing: Whether the note is unknown, see Place.
        deck_missing: Whether the deck is unknown.
        preset_missing: Whether the preset is unknown.
        day_offset: Day of the review.
        elapsed_days: Whole days from the card's previous review; -1 on its first.
        elapsed_s: Seconds from the card's previous review; -1 on its first.
        rating: Answer: 1 Again, 2 Hard, 3 Good, 4 Easy.
        state: State of the card when answered (spec 1).
        duration_ms: Answer time in milliseconds, rounded to integers, halves to even.
        shares_note_code: Whether the note has the identity code that all missing notes share, see RevlogTable.
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
        """The review's entity in each stream."""
        return dict(zip(STREAMS, (self.card, self.deck, self.note, self.preset, 0), strict=True))

    @property
    def place(self) -> Place:
        """The place of its card."""
        return Place(
            note=self.note,
            deck=self.deck,
            preset=self.preset,
            note_missing=self.note_missing,
            deck_missing=self.deck_missing,
            preset_missing=self.preset_missing,
        )


def reviews_of(table: RevlogTable) -> Iterator[Review]:
    """The reviews of a history in time order."""
    by_card = vars(table.cards) | {"shares_note_code": table.shares_note_code}
    card_values = {name: column[table.card].tolist() for name, column in by_card.items()}
    columns = {
        name: card_values[name] if name in card_values else getattr(table, name).tolist() for name in _REVIEW_FIELDS
    }
    for values in zip(*columns.values(), strict=True):
        yield Review(*values)


_REVIEW_FIELDS = tuple(Review.__dataclass_fields__)


class Counts(NamedTuple):
    """The columns of a ReviewContext at one review."""

    elapsed_days: int
    elapsed_days_cumulative: int
    elapsed_s: int
    elapsed_s_cumulative: int
    duration_ms: int
    rating: int
    state: int
    note_missing: bool
    deck_missing: bool
    preset_missing: bool
    day_offset_diff: int
    new_cards_since: int
    reviews_since: int
    new_cards_today: int
    reviews_today: int


class Days(NamedTuple):
    """A review's day and the day of its card's first review, both counted from the history's first day."""

    day: int
    first_day: int


def context_of(counts: Sequence[Counts]) -> ReviewContext:
    """The ReviewContext of R reviews from their counts."""
    columns = np.array(counts, np.int64).reshape(len(counts), -1).T
    named: dict[str, Any] = dict(zip(Counts._fields, columns, strict=True))
    return ReviewContext(**named | {name: named[name] != 0 for name in MISSING_FLAGS})


class CardPast(NamedTuple):
    """The counters of one card's past reviews. The sums wrap around at 64 bits, as those of a history."""

    elapsed_days_sum: int
    elapsed_s_sum: int
    review_th: int
    new_cards: int
    first_day: int
    place: Place


class Totals(NamedTuple):
    """The counters of all past reviews; the days are None before the first review."""

    reviews: int = 0
    review_th: int = 0
    new_cards: int = 0
    first_day: int | None = None
    today: int | None = None
    new_cards_today: int = 0
    reviews_today: int = 0


class PastCounters:
    """The counters of one person's past from which the features of the next review are computed.

    `counts` reads them for a possible review; `commit` adds a review. Reviews must be in time order.

    Source: Spec 3.
    """

    def __init__(self) -> None:
        self.cards: dict[int, CardPast] = {}
        self.totals = Totals()

    def context(self, review: Review) -> ReviewContext:
        """The columns [1] of a possible next review, equal to those of `rwkv.data.excerpts.review_context`."""
        return context_of([self.counts(review)])

    def counts(self, review: Review) -> Counts:
        """Like `context`, but as plain integers."""
        past, totals = self.cards.get(review.card), self.totals
        is_new = int(review.elapsed_days == -1)
        same_day = review.day_offset == totals.today
        days_before, s_before = (0, 0) if past is None else (past.elapsed_days_sum, past.elapsed_s_sum)
        return Counts(
            elapsed_days=review.elapsed_days,
            elapsed_days_cumulative=_wrapped(days_before + review.elapsed_days),
            elapsed_s=review.elapsed_s,
            elapsed_s_cumulative=_wrapped(s_before + review.elapsed_s),
            duration_ms=int(review.duration_ms),
            rating=review.rating,
            state=review.state,
            note_missing=review.note_missing,
            deck_missing=review.deck_missing,
            preset_missing=review.preset_missing,
            day_offset_diff=0 if totals.today is None else review.day_offset - totals.today,
            new_cards_since=0 if past is None else totals.new_cards + is_new - past.new_cards,
            reviews_since=0 if past is None else max(0, review.review_th - past.review_th - 1),
            new_cards_today=is_new + (totals.new_cards_today if same_day else 0),
            reviews_today=totals.reviews_today if same_day else 0,
        )

    def days(self, review: Review) -> Days:
        """The days of a possible next review."""
        first_day = self.totals.first_day
        day = 0 if first_day is None else review.day_offset - first_day
        past = self.cards.get(review.card)
        return Days(day, day if past is None else past.first_day)

    def commit(self, review: Review) -> tuple[CardPast | None, Totals]:
        """Count an answered review. Returns the previous counters, for `revert`."""
        past, totals = self.cards.get(review.card), self.totals
        is_new = int(review.elapsed_days == -1)
        first_day = self.days(review).first_day
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
        """Restore the counters before the latest review, which was of `card`."""
        past, self.totals = before
        if past is None:
            del self.cards[card]
        else:
            self.cards[card] = past


def _wrapped(value: int) -> int:
    """Wrap around like a signed 64-bit integer."""
    return (value + 2**63) % 2**64 - 2**63
