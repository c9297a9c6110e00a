"""A user's review history, and the integer columns derived from it (spec 1 and 3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyInts, Bools, Int32s, Ints
from rwkv.plurals import counted
from rwkv.vocab import SECONDS_PER_DAY

# What is corrected on reading, by column, as a noun and the rest of the words (spec 1).
CORRECTIONS = {
    "rating": ("review", "with a rating outside 1..4 dropped"),
    "elapsed_days": ("value", "of elapsed_days below -1 set to 0"),
    "elapsed_seconds": ("value", "of elapsed_seconds below -1 set to 0"),
    "duration": ("value", "of duration below 0 set to 0"),
}

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class CardTable:
    """Note, deck and preset of each card, in arrays [cards]. Ids are dense, in order of first appearance."""

    note: Int32s
    deck: Int32s
    preset: Int32s
    note_missing: Bools
    deck_missing: Bools
    preset_missing: Bools


@dataclass(frozen=True)
class RevlogTable:
    """The recorded reviews of a user in time order, in columns [R].

    Attributes:
        review_th: The 1-based row number in the revlog, with gaps where rows were dropped.
        card: The card, dense in order of first appearance.
        elapsed_days, elapsed_s: Time since the card's previous review; -1 for its first.
        corrected: The number of values of each correction of CORRECTIONS that was needed.
        missing_notes: "own" or "published"; see `shares_note_code`.
    """

    user: int
    review_th: Int32s
    card: Int32s
    rating: npt.NDArray[np.int8]
    state: npt.NDArray[np.int8]
    duration_ms: Ints
    day_offset: Int32s
    elapsed_days: Int32s
    elapsed_s: Ints
    cards: CardTable
    corrected: Mapping[str, int] = field(default_factory=dict)
    missing_notes: str = "own"

    @property
    def notices(self) -> tuple[str, ...]:
        """What was corrected, in words."""
        words = ((count, *CORRECTIONS[name]) for name, count in self.corrected.items())
        return tuple(f"{counted(count, noun)} {rest}" for count, noun, rest in words)

    @property
    def shares_note_code(self) -> Bools:
        """Whether each card's note shares a common identity code, bool [cards]: missing notes if "published".

        The published code computes codes from ids in int32, and its placeholders for missing notes overflow.
        """
        return self.cards.note_missing if self.missing_notes == "published" else np.zeros(len(self.cards.note), bool)

    @property
    def note_code(self) -> Int32s:
        """The note whose identity code each card's note has [cards]: itself, or the first that shares the code."""
        shared = self.shares_note_code
        return np.where(shared, self.cards.note[shared.argmax()], self.cards.note) if shared.any() else self.cards.note

    def __len__(self) -> int:
        return len(self.review_th)

    def part(self, rows: slice | Ints) -> "RevlogTable":
        """Some of the reviews, with all cards."""
        columns: dict[str, Any] = {
            name: column[rows] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        return replace(self, **columns)


@dataclass(frozen=True)
class ReviewContext:
    """The integer columns [R] from which the features of a row are computed.

    `rwkv.data.excerpts` computes them for a history, and the recurrent form for one review at a time.
    Source: spec 3, columns 1 to 24.
    """

    elapsed_days: Ints
    elapsed_days_cumulative: Ints
    elapsed_s: Ints
    elapsed_s_cumulative: Ints
    duration_ms: Ints
    rating: Ints
    state: Ints
    note_missing: Bools
    deck_missing: Bools
    preset_missing: Bools
    day_offset_diff: Ints
    new_cards_since: Ints
    reviews_since: Ints
    new_cards_today: Ints
    reviews_today: Ints


@dataclass(frozen=True)
class CardOrder:
    """The reviews grouped by card. previous, following [R]: the row of the card's neighbouring review, or -1."""

    order: Ints
    is_start: Bools
    previous: Ints
    following: Ints


def order_by_card(card: AnyInts) -> CardOrder:
    """Sort reviews by card and time. `order` [R] are rows, and `is_start` [R] marks the first row of each card."""
    order = stable_order(card)
    grouped = card[order]
    is_start = np.ones(len(card), bool)
    is_start[1:] = grouped[1:] != grouped[:-1]
    previous = np.full(len(card), -1)
    following = np.full(len(card), -1)
    previous[order[1:]] = np.where(is_start[1:], -1, order[:-1])
    following[order[:-1]] = np.where(is_start[1:], -1, order[1:])
    return CardOrder(order, is_start, previous, following)


def stable_order(numbers: AnyInts) -> Ints:
    """The stable order of integers [n]. Small ones are sorted together with their rows, several times faster."""
    if len(numbers) == 0 or numbers.min() < 0 or numbers.max() > _INT32_MAX or len(numbers) > _INT32_MAX:
        return np.argsort(numbers, kind="stable")
    keys = (numbers.astype(np.int64) << 32) | np.arange(len(numbers))
    keys.sort()
    return keys & _INT32_MAX


def steps(values: AnyInts, before: int) -> Ints:
    """The differences [n] of each value from the one before it; `before` comes before the first."""
    columns = values.astype(np.int64)
    return columns - np.append(before, columns[:-1])


def cumsum_by_group(values: Ints, is_start: Bools) -> Ints:
    """The running sum [n] of `values`, which restarts where `is_start` is set."""
    total = np.cumsum(values)
    before = total - values
    starts = np.flatnonzero(is_start)
    return total - np.repeat(before[starts], np.diff(starts, append=len(values)))


def estimated_times(table: RevlogTable) -> Ints:
    """The earliest possible times of the reviews, in ascending seconds [R] since the start of day_offset 0.

    A review is on its day, after the previous one, and elapsed_s after the card's previous review. An estimate may be
    wrong by hours, but not by days.
    """
    previous = order_by_card(table.card).previous.tolist()
    starts = (table.day_offset.astype(np.int64) * SECONDS_PER_DAY).tolist()
    times: list[int] = []
    latest = starts[0]
    for before, start, elapsed_s in zip(previous, starts, table.elapsed_s.tolist(), strict=True):
        earliest = start if before < 0 or elapsed_s < 0 else max(start, times[before] + elapsed_s)
        latest = max(latest, min(earliest, start + SECONDS_PER_DAY - 1))
        times.append(latest)
    return np.array(times, np.int64)


def number_by_appearance(ids: npt.NDArray[np.generic]) -> tuple[Ints, Ints]:
    """Renumber ids as 0, 1, ... in order of first appearance.

    Returns:
        The numbers [n], and the position of the first appearance of each number [distinct].
    """
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    rank = np.empty_like(by_appearance)
    rank[by_appearance] = np.arange(len(rank))
    return rank[inverse], first[by_appearance]
