"""Import reviews from a CSV file. Source: README of fsrs-optimizer, "Review Logs Schema"."""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.collection import DEFAULT_RETENTION, CardList, Texts
from rwkv.data.csv_columns import (
    TextColumn,
    bad_cell,
    decimal_numbers,
    distinct_texts,
    place_of,
    read_csv_columns,
    whole_numbers,
)
from rwkv.data.csv_text import SHOWN_CHARACTERS, CsvText, name_without_endings, read_csv_text
from rwkv.data.days import LATEST_S, DayClock
from rwkv.data.history import order_by_card
from rwkv.data.imports.csv.card_ids import are_rounded, first_damaged, not_integers, numbered
from rwkv.data.imports.csv.clock import CLOCK_COLUMNS, clock_of
from rwkv.data.imports.imported import LONGEST_MS, ImportChoices, ImportedUser, TimedReviews
from rwkv.errors import InputError
from rwkv.files import unchanged
from rwkv.plurals import counted, form
from rwkv.vocab import RATINGS

_NEEDED = ("card_id", "review_time", "review_rating")
_OPTIONAL = ("review_state", "review_duration", *CLOCK_COLUMNS)
CSV_COLUMNS = (*_NEEDED, *_OPTIONAL)

# The states of spec 1.
_NEW, _LEARNING, _REVIEW, _FILTERED = 0, 1, 2, 4

# Times before 1973 are probably in seconds.
_LEAST_MS = 100_000_000_000
_MOST_MS = LATEST_S * 1000
# A spreadsheet's thousands, or a fraction. If semicolons separate the cells, a comma is a decimal point.
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


@dataclass(frozen=True)
class _File:
    """The valid rows in order of time, with names of cards 1, 2, ... if ids are text, and states if recorded."""

    reviews: TimedReviews
    names: Texts | None
    has_states: bool
    clock: DayClock
    counts: dict[str, int]
    notices: tuple[str, ...]


def read_csv(path: Path, choices: ImportChoices) -> ImportedUser:
    """Read a CSV file of reviews in any order. A card's first row is its new start.

    The column card_id has numbers or any text. Text is numbered by first appearance and becomes the note's name.

    Raises:
        InputError: A column is missing or a value is invalid. The error names file, line and column.
    """
    with unchanged(path) as sha256:
        return user_of_csv(read_csv_text(path, CSV_COLUMNS), path, sha256, choices)


def user_of_csv(csv: CsvText, path: Path, sha256: str, choices: ImportChoices) -> ImportedUser:
    """Like `read_csv`, for a decoded file."""
    file = _read(csv, choices)
    none = np.zeros(0, np.int64)
    return ImportedUser(
        source=path.name,
        sha256=sha256,
        kind="csv",
        name=name_without_endings(path),
        reviews=replace(file.reviews, state=_states(file)),
        clock=file.clock,
        card_list=reviewed_cards(file.reviews.card_id, file.names),
        cards={"card_id": none, "note_id": none, "deck_id": none},
        decks={"deck_id": none, "parent_id": none, "preset_id": none},
        grades="as recorded",
        has_fsrs=False,
        fsrs_params={},
        counts=file.counts,
        notices=csv.notices + file.notices,
    )


def reviewed_cards(card_id: Ints, names: Texts | None = None) -> CardList:
    """The reviewed cards, without notes, decks and due days. names: of cards 1, 2, ... if ids are text."""
    card_id = np.unique(card_id)
    nothing = np.full(len(card_id), "", object)
    is_no = np.zeros(len(card_id), bool)
    return CardList(
        card_id=card_id,
        note_id=card_id,
        deck_id=np.zeros(len(card_id), np.int64),
        note=nothing if names is None else names[card_id - 1],
        deck=nothing,
        preset=nothing,
        due_day=np.full(len(card_id), np.nan),
        interval_days=np.zeros(len(card_id), np.int64),
        is_new=is_no,
        is_suspended=is_no,
        desired_retention=np.full(len(card_id), DEFAULT_RETENTION),
    )


def _read(csv: CsvText, choices: ImportChoices) -> _File:
    lacking = [name for name in _NEEDED if name not in csv.names]
    if lacking:
        raise InputError(
            f"A column is missing from the CSV file: {', '.join(lacking)}.",
            where=csv.where,
            got=f"{', '.join(csv.names[:20])}, separated by {csv.separator!r}",
            expected=f"{', '.join(_NEEDED)}, and optionally {', '.join(_OPTIONAL)}; or Anki's table `revlog`",
            hint="name the columns so in the first line, and check its quotes and separators",
        )
    columns = read_csv_columns(csv, CSV_COLUMNS)
    card_id, names, id_notices = _ids(columns["card_id"], csv)
    time_ms = _times(columns["review_time"], csv)
    rating = _required(columns["review_rating"], "review_rating", csv)
    state, (duration_ms, is_negative) = np.zeros(len(rating), np.int64), _durations(columns, len(rating), csv)
    if "review_state" in columns:
        state = _required(columns["review_state"], "review_state", csv)
        is_strange = (state < _NEW) | (state > _FILTERED)
        _refuse_first(is_strange, columns["review_state"], "review_state", csv, f"{_NEW} to {_FILTERED}")
    order = np.argsort(time_ms, kind="stable")
    clock, clock_notices = clock_of(columns, order, choices, csv)
    is_ahead, is_rated = time_ms > int(time.time() * 1000), np.isin(rating, RATINGS)
    order = order[(is_rated & ~is_ahead)[order]]
    if len(order) == 0:
        got = f"{counted(len(rating), 'row')}, none with a rating from 1 to 4 and a time before now"
        hint = "check the columns review_rating and review_time, and this computer's clock"
        raise InputError("The CSV file has no reviews.", where=csv.where, got=got, hint=hint)
    rows = np.stack([card_id, time_ms, rating, state, duration_ms])
    once = _without_doubles(rows, order)
    counts = {
        "entries": len(rating),
        "in_the_future": int(is_ahead.sum()),
        "impossible_ratings": int((~is_rated & ~is_ahead).sum()),
        "doubled_rows": len(order) - len(once),
        "negative_durations": int(is_negative[once].sum()),
    }
    reviews = TimedReviews(*rows[:, once])
    notices = (*id_notices, *_conflicts(reviews), *clock_notices)
    return _File(reviews, names, "review_state" in columns, clock, counts, notices)


def _ids(column: TextColumn, table: CsvText) -> tuple[Ints, Texts | None, tuple[str, ...]]:
    """The card of each row, names of cards 1, 2, ... if ids are text, and notices."""
    place, texts = distinct_texts(column)
    damaged = first_damaged(texts)
    if damaged is not None:
        expected = "a complete id: an integer, or text with a letter, without quotes"
        _refuse_first(place == damaged, column, "card_id", table, expected)
    numbers, names = numbered(texts)
    notices: list[str] = []
    if several := len(numbers) - len(set(numbers)):
        notices.append(f"{counted(several, 'card id')} written in two ways, such as 160 and 160.0: treated as equal")
    if names is not None and (others := not_integers(texts)):
        shown = f"{len(others):,} of {counted(len(texts), 'card id')}"
        what = (
            f"{shown} {form(len(others), 'is no integer', 'are no integers')}, such as {others[0][:SHOWN_CHARACTERS]!r}"
        )
        notices.append(f"{what}; all are treated as text")
    if are_rounded(texts):
        what = "all card ids of more than 15 digits end in zeros, probably rounded by a spreadsheet"
        notices.append(f"{what}; several cards may have become one. If so, export the file again")
    return np.array(numbers, np.int64)[place], None if names is None else np.array(names, object), tuple(notices)


def _times(column: TextColumn, table: CsvText) -> Ints:
    time_ms = _required(column, "review_time", table, "epoch milliseconds")
    for is_wrong, what, expected, hint in (
        (time_ms < _LEAST_MS, "too early", "after 1973", "multiply by 1000 if these are seconds"),
        (time_ms > _MOST_MS, "too late", "before the year 9000", "divide by 1000 if these are microseconds"),
    ):
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            raise InputError(
                f"A review_time is {what}.",
                where=place_of(table, row, "review_time"),
                got=str(time_ms[row]),
                expected=f"epoch milliseconds, {expected}",
                hint=hint,
            )
    return time_ms


def _durations(columns: dict[str, TextColumn], rows: int, csv: CsvText) -> tuple[Ints, Bools]:
    """The duration of each row in milliseconds, 0 if missing or negative, and a mask of negative ones."""
    if "review_duration" not in columns:
        return np.zeros(rows, np.int64), np.zeros(rows, bool)
    column = columns["review_duration"]
    duration_ms, _ = decimal_numbers(column, "review_duration", csv)
    if csv.separator != ";":
        place, texts = distinct_texts(column)
        is_ambiguous = np.array([_THOUSANDS.fullmatch(text) is not None for text in texts], bool)[place]
        _refuse_first(is_ambiguous, column, "review_duration", csv, "milliseconds without a comma between thousands")
    expected = f"milliseconds, 0 to {LONGEST_MS}"
    _refuse_first(np.abs(duration_ms) > LONGEST_MS, column, "review_duration", csv, expected)
    return np.maximum(0, np.rint(duration_ms)).astype(np.int64), duration_ms < 0


def _required(column: TextColumn, name: str, table: CsvText, expected: str = "a whole number") -> Ints:
    values, missing = whole_numbers(column, name, table, expected)
    _refuse_first(missing, column, name, table, expected)
    return values


def _refuse_first(is_wrong: Bools, column: TextColumn, name: str, table: CsvText, expected: str) -> None:
    if is_wrong.any():
        raise bad_cell(column, int(np.argmax(is_wrong)), name, table, expected)


def _without_doubles(rows: Ints, order: Ints) -> Ints:
    """`order`, which is by time, without duplicates of earlier rows [:, index]."""
    near = _near(rows[1, order])
    by_row = near[np.lexsort((near, *rows[:, order[near]]))]
    is_double = np.zeros(len(order), bool)
    is_double[by_row[1:]] = np.all(np.diff(rows[:, order[by_row]], axis=1) == 0, axis=0)
    return order[~is_double]


def _conflicts(reviews: TimedReviews) -> tuple[str, ...]:
    """A notice about different reviews of one card at the same time."""
    near = _near(reviews.time_ms)
    pairs = np.unique(np.stack([reviews.time_ms[near], reviews.card_id[near]]), axis=1)
    more = len(near) - pairs.shape[1]
    return (f"{counted(more, 'review')} with the same card and time as another one: kept",) if more else ()


def _near(time_ms: Ints) -> Ints:
    """The rows, by time, that have the same time as another."""
    same = np.diff(time_ms) == 0
    return np.flatnonzero(np.append(same, False) | np.append(False, same))


def _states(file: _File) -> Ints:
    """The states of spec 1 [n]. Without recorded states: learning on a card's first day, review afterwards."""
    reviews = file.reviews
    cards = order_by_card(reviews.card_id)
    later = np.where(reviews.state == _NEW, _LEARNING, reviews.state)
    if not file.has_states:
        day = file.clock.days(reviews.time_ms // 1000)
        first = np.empty(len(day), np.int64)
        first[cards.order] = day[cards.order][np.maximum.accumulate(np.where(cards.is_start, np.arange(len(day)), 0))]
        later = np.where(day == first, _LEARNING, _REVIEW)
    return np.where(cards.previous < 0, _NEW, later)
