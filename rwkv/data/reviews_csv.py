"""CSV of reviews -> what is imported of it. Source: README of fsrs-optimizer, "Review Logs Schema"."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.data.arrow import ids, integers, read_csv_columns
from rwkv.data.collection import DEFAULT_RETENTION, CardList, Texts
from rwkv.data.days import LATEST_S, DayClock
from rwkv.data.history import Ints, order_by_card
from rwkv.data.imported import ImportChoices, ImportedUser
from rwkv.data.review_columns import TimedReviews
from rwkv.data.source_file import unchanged
from rwkv.errors import InputError
from rwkv.vocab import RATINGS

_NEEDED = ("card_id", "review_time", "review_rating")
_OPTIONAL = ("review_state", "review_duration")

_TIMEZONE, _ROLLOVER = "UTC", 4
_NOTICE = "the file says nothing of time zone and day: UTC, from 4 o'clock, is taken (see --timezone and --rollover)"

# States of spec 1.
_NEW, _LEARNING, _REVIEW, _FILTERED = 0, 1, 2, 4

# Earlier moments than 1973 are no milliseconds but seconds.
_LEAST_MS = 100_000_000_000
_MOST_MS = LATEST_S * 1000


@dataclass(frozen=True)
class _File:
    """The rows that count, in order of time; names: of cards 1, 2, ... where ids are text; their states, if known."""

    reviews: TimedReviews
    names: Texts | None
    has_states: bool
    counts: dict[str, int]


def read_csv(path: Path, choices: ImportChoices) -> ImportedUser:
    """Read a CSV file of reviews, in any order; a card's first row is its new start.

    card_id: numbers, or any text, which is then numbered by first appearance and kept as the note's name.
    Raises InputError or HistoryError where a column is missing or a value is impossible.
    """
    with unchanged(path) as sha256:
        file = _read(path)
    notices = () if choices.timezone and choices.rollover_hour is not None else (_NOTICE,)
    rollover_hour = _ROLLOVER if choices.rollover_hour is None else choices.rollover_hour
    clock = DayClock(choices.timezone or _TIMEZONE, rollover_hour)
    none = np.zeros(0, np.int64)
    return ImportedUser(
        source=path.name,
        sha256=sha256,
        kind="csv",
        name=path.stem,
        reviews=replace(file.reviews, state=_states(file, clock)),
        clock=clock,
        card_list=_card_list(file),
        cards={"card_id": none, "note_id": none, "deck_id": none},
        decks={"deck_id": none, "parent_id": none, "preset_id": none},
        grades="as recorded",
        has_fsrs=False,
        fsrs_params={},
        counts=file.counts,
        notices=notices,
    )


def _read(path: Path) -> _File:
    where = str(path)
    columns = read_csv_columns(path, ("card_id",), (*_NEEDED[1:], *_OPTIONAL))
    lacking = [name for name in _NEEDED if name not in columns]
    if lacking:
        expected = f"{', '.join(_NEEDED)}, and perhaps {', '.join(_OPTIONAL)}"
        raise InputError(f"The CSV file lacks a column: {', '.join(lacking)}.", where=where, expected=expected)
    card_id, names = ids(columns["card_id"], "card_id", where)
    time_ms, rating = (integers(columns[name], name, where) for name in _NEEDED[1:])
    _check_times(time_ms, where)
    state, duration_ms = np.zeros(len(rating), np.int64), np.zeros(len(rating), np.int64)
    if "review_state" in columns:
        state = integers(columns["review_state"], "review_state", where)
        if np.any((state < _NEW) | (state > _FILTERED)):
            got = str(state[(state < _NEW) | (state > _FILTERED)][0])
            raise InputError("A review_state is impossible.", where=where, got=got, expected=f"{_NEW} to {_FILTERED}")
    if "review_duration" in columns:
        duration_ms = np.maximum(0, np.rint(np.nan_to_num(columns["review_duration"].to_numpy()))).astype(np.int64)
    order = np.argsort(time_ms, kind="stable")
    order = order[np.isin(rating[order], RATINGS)]
    if len(order) == 0:
        raise InputError("The CSV file has no reviews.", where=where, got=f"{len(rating)} rows, none rated 1 to 4")
    return _File(
        TimedReviews(card_id[order], time_ms[order], rating[order], state[order], duration_ms[order]),
        names,
        "review_state" in columns,
        {"entries": len(rating), "impossible_ratings": len(rating) - len(order)},
    )


def _check_times(time_ms: Ints, where: str) -> None:
    if len(time_ms) and time_ms.min() < _LEAST_MS:
        raise InputError(
            "A review_time is too early.",
            where=where,
            got=str(time_ms.min()),
            expected="epoch milliseconds, after 1973",
            hint="multiply by 1000 if these are seconds",
        )
    if len(time_ms) and time_ms.max() > _MOST_MS:
        raise InputError(
            "A review_time is too late.",
            where=where,
            got=str(time_ms.max()),
            expected="epoch milliseconds",
            hint="divide by 1000 if these are microseconds",
        )


def _states(file: _File, clock: DayClock) -> Ints:
    """States of spec 1 [n]. Where the file has none: learning on a card's first day, review from then on."""
    reviews = file.reviews
    cards = order_by_card(reviews.card_id)
    later = np.where(reviews.state == _NEW, _LEARNING, reviews.state)
    if not file.has_states:
        day = clock.days(reviews.time_ms // 1000)
        first = np.empty(len(day), np.int64)
        first[cards.order] = day[cards.order][np.maximum.accumulate(np.where(cards.is_start, np.arange(len(day)), 0))]
        later = np.where(day == first, _LEARNING, _REVIEW)
    return np.where(cards.previous < 0, _NEW, later)


def _card_list(file: _File) -> CardList:
    """The cards that have reviews; of their notes, decks and due days nothing is known but the name of a text id."""
    card_id = np.unique(file.reviews.card_id)
    nothing = np.full(len(card_id), "", object)
    is_no = np.zeros(len(card_id), bool)
    return CardList(
        card_id=card_id,
        note_id=card_id,
        deck_id=np.zeros(len(card_id), np.int64),
        note=nothing if file.names is None else file.names[card_id - 1],
        deck=nothing,
        preset=nothing,
        due_day=np.full(len(card_id), np.nan),
        interval_days=np.zeros(len(card_id), np.int64),
        is_new=is_no,
        is_suspended=is_no,
        desired_retention=np.full(len(card_id), DEFAULT_RETENTION),
    )
