"""Excerpts: some reviews of a history, with what their features and labels need of all others (spec 3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rwkv.arrays import AnyInts, Bools, Ints
from rwkv.data.history import CardOrder, ReviewContext, RevlogTable, cumsum_by_group, order_by_card, steps

_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True)
class Start:
    """What came before the reviews of an excerpt.

    Attributes:
        cards, new_cards: Cards with earlier reviews, and earlier first reviews, which may be fewer.
        day: The day_offset of the previous review; that of the first review without one.
        reviews_today, new_cards_today: Earlier reviews on the day of the first one, and first reviews among them.
    """

    cards: int
    new_cards: int
    day: int
    reviews_today: int
    new_cards_today: int


@dataclass(frozen=True)
class Running:
    """Running values of rows, up to and with each: the user's first reviews, and the card's sums, int64 [rows]."""

    new_cards: Ints
    elapsed_days: Ints
    elapsed_s: Ints


@dataclass(frozen=True)
class Excerpt:
    """Consecutive reviews of a history. The whole history is an excerpt, too.

    Attributes:
        table: In time order the last earlier review of each card, the reviews, and the next later review of each card.
            Only what is needed of the earlier and later ones is set. `cards` has all cards of the history.
        is_key: Whether each row is a benchmark key.
        own: The rows of the reviews themselves.
        start: What came before them.
        past: The values of the rows before them.
    """

    table: RevlogTable
    is_key: Bools
    own: slice
    start: Start
    past: Running


def whole_excerpt(table: RevlogTable, is_key: Bools) -> Excerpt:
    """A whole history. is_key: bool [R]."""
    nothing_before = Start(cards=0, new_cards=0, day=int(table.day_offset[0]), reviews_today=0, new_cards_today=0)
    return Excerpt(table, is_key, slice(0, len(table)), nothing_before, Running(_NOTHING, _NOTHING, _NOTHING))


def cut_excerpts(source: Excerpt, bounds: Iterable[tuple[int, int]]) -> Iterator[Excerpt]:
    """Cut shorter excerpts.

    Args:
        source: The excerpt to cut.
        bounds: For each, its first review and one past its last, counted from the first of `source`.
    """
    cards = order_by_card(source.table.card)
    running = running_values(source, cards)
    for start, stop in bounds:
        first, last = source.own.start + start, source.own.start + stop
        previous, following = cards.previous[first:last], cards.following[first:last]
        earlier = np.sort(previous[(previous >= 0) & (previous < first)])
        later = np.sort(following[following >= last])
        rows = np.concatenate([earlier, np.arange(first, last), later])
        own = slice(len(earlier), len(earlier) + stop - start)
        yield Excerpt(
            table=_without_the_unused(source.table.part(rows), own),
            is_key=source.is_key[rows] & (np.arange(len(rows)) >= own.start),
            own=own,
            start=_start(source, running, first),
            past=Running(running.new_cards[earlier], running.elapsed_days[earlier], running.elapsed_s[earlier]),
        )


def joined_excerpts(parts: list[Excerpt]) -> Excerpt:
    """A whole history of consecutive excerpts, at least one."""
    own = [part.table.part(part.own) for part in parts]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(table, name) for table in own])
        for name, column in vars(own[0]).items()
        if isinstance(column, np.ndarray)
    }
    return whole_excerpt(replace(own[0], **columns), np.concatenate([part.is_key[part.own] for part in parts]))


def running_values(excerpt: Excerpt, cards: CardOrder) -> Running:
    """The running values of all rows; those of later reviews are not used. cards: the order of the table's rows."""
    table, earlier, past = excerpt.table, excerpt.own.start, excerpt.past
    is_new = table.elapsed_days == -1
    is_new[:earlier] = False
    new_cards = excerpt.start.new_cards + np.cumsum(is_new)
    new_cards[:earlier] = past.new_cards

    def card_sums(column: AnyInts, before: Ints) -> Ints:
        values = column.astype(np.int64)
        values[:earlier] = before
        sums = np.empty(len(values), np.int64)
        sums[cards.order] = cumsum_by_group(values[cards.order], cards.is_start)
        return sums

    return Running(
        new_cards, card_sums(table.elapsed_days, past.elapsed_days), card_sums(table.elapsed_s, past.elapsed_s)
    )


def review_context(excerpt: Excerpt, cards: CardOrder) -> ReviewContext:
    """The integer columns of an excerpt's reviews. cards: the order of the table's rows."""
    own, start = excerpt.own, excerpt.start
    table, running, previous = excerpt.table.part(own), running_values(excerpt, cards), cards.previous[own]
    rows = np.arange(len(table))
    seen = previous >= 0
    new_cards, before_row = running.new_cards[own], running.new_cards[own] - (table.elapsed_days == -1)
    day_diff = steps(table.day_offset, start.day)
    day_start = np.maximum.accumulate(np.where(day_diff != 0, rows, 0))
    is_first_day = day_start == 0
    skipped = table.review_th.astype(np.int64) - excerpt.table.review_th[previous] - 1
    return ReviewContext(
        elapsed_days=table.elapsed_days.astype(np.int64),
        elapsed_days_cumulative=running.elapsed_days[own],
        elapsed_s=table.elapsed_s,
        elapsed_s_cumulative=running.elapsed_s[own],
        duration_ms=table.duration_ms,
        rating=table.rating.astype(np.int64),
        state=table.state.astype(np.int64),
        note_missing=table.cards.note_missing[table.card],
        deck_missing=table.cards.deck_missing[table.card],
        preset_missing=table.cards.preset_missing[table.card],
        day_offset_diff=day_diff,
        new_cards_since=np.where(seen, new_cards - running.new_cards[previous], 0),
        reviews_since=np.where(seen, np.maximum(0, skipped), 0),
        new_cards_today=new_cards - before_row[day_start] + is_first_day * start.new_cards_today,
        reviews_today=rows - day_start + is_first_day * start.reviews_today,
    )


def _without_the_unused(table: RevlogTable, own: slice) -> RevlogTable:
    """Blank what no feature or label needs of earlier and later reviews, so that it takes no space. Changes `table`."""
    table.duration_ms[own.stop :], table.state[own.stop :] = 0, 0
    earlier = slice(0, own.start)
    table.duration_ms[earlier], table.state[earlier], table.rating[earlier] = 0, 0, 1
    table.elapsed_days[earlier], table.elapsed_s[earlier] = -1, -1
    return table


def _start(source: Excerpt, running: Running, first: int) -> Start:
    """What came before a row of an excerpt's own reviews."""
    whole, begin = source.start, source.own.start
    if first == begin:
        return whole
    day = source.table.day_offset
    day_start = begin + int(np.searchsorted(day[begin:first], day[first]))
    new_before_day = int(running.new_cards[day_start - 1]) if day_start > begin else whole.new_cards
    new_cards = int(running.new_cards[first - 1])
    is_first_day = day_start == begin
    return Start(
        cards=max(whole.cards, int(source.table.card[begin:first].max()) + 1),
        new_cards=new_cards,
        day=int(day[first - 1]),
        reviews_today=first - day_start + is_first_day * whole.reviews_today,
        new_cards_today=new_cards - new_before_day + is_first_day * whole.new_cards_today,
    )
