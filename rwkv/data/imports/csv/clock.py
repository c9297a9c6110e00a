"""The clock of a CSV file, from the columns timezone and day_start of fsrs-optimizer's format."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.csv_columns import TextColumn, bad_cell, distinct_texts, whole_numbers
from rwkv.data.csv_text import CsvText
from rwkv.data.days import DayClock, utc_offsets
from rwkv.data.imports.imported import ImportChoices
from rwkv.errors import InputError

Value = TypeVar("Value", str, int)

CLOCK_COLUMNS = ("timezone", "day_start")

_TIMEZONE, _ROLLOVER = "UTC", 4
_MOST_SHOWN = 5


def clock_of(
    columns: Mapping[str, TextColumn], order: Ints, choices: ImportChoices, table: CsvText
) -> tuple[DayClock, tuple[str, ...]]:
    """The clock of a CSV file and notices about it: as chosen, else from the columns, else UTC from 4 o'clock.

    Args:
        columns: The columns as texts.
        order: The rows by time. The latest value counts for all days.
        choices: The import's options.
        table: The file, for errors.

    Raises:
        InputError: A zone or hour is invalid. The error names the line.
    """
    zone, hour = choices.timezone, choices.rollover_hour
    notices: tuple[str, ...] = ()
    if zone is None:
        zone, notices = _zone(columns, order, table)
    if hour is None:
        hour, further = _hour(columns, order, table)
        notices += further
    clock = DayClock(zone or _TIMEZONE, _ROLLOVER if hour is None else hour)
    return clock, notices + _lacking(zone, hour)


def _lacking(zone: str | None, hour: int | None) -> tuple[str, ...]:
    """A notice about assumed values."""
    if zone is None and hour is None:
        what, taken, options = (
            "time zone and beginning of the day",
            f"{_TIMEZONE} and {_ROLLOVER} o'clock",
            "`timezone` and `rollover_hour`",
        )
    elif zone is None:
        what, taken, options = "the time zone", _TIMEZONE, "`timezone`"
    elif hour is None:
        what, taken, options = "the hour at which days begin", f"{_ROLLOVER} o'clock", "`rollover_hour`"
    else:
        return ()
    return (f"the file does not record {what}; assuming {taken} (see {options})",)


def _zone(columns: Mapping[str, TextColumn], order: Ints, table: CsvText) -> tuple[str | None, tuple[str, ...]]:
    if "timezone" not in columns:
        return None, ()
    place, texts = distinct_texts(columns["timezone"])
    for number, text in enumerate(texts):
        try:
            utc_offsets(np.array([0]), text or _TIMEZONE)
        except InputError as error:
            row = int(np.argmax(place == number))
            expected = "a name such as Europe/Berlin, or UTC+02:00"
            raise bad_cell(columns["timezone"], row, "timezone", table, expected) from error
    stated = [texts[number] for number in place[order] if texts[number]]
    return _latest(stated, "timezone")


def _hour(columns: Mapping[str, TextColumn], order: Ints, table: CsvText) -> tuple[int | None, tuple[str, ...]]:
    if "day_start" not in columns:
        return None, ()
    hours, missing = whole_numbers(columns["day_start"], "day_start", table)
    is_wrong = (hours < 0) | (hours > 23)
    if is_wrong.any():
        raise bad_cell(columns["day_start"], int(np.argmax(is_wrong)), "day_start", table, "an hour, 0 to 23")
    return _latest(hours[order][~missing[order]].tolist(), "day_start")


def _latest(values: list[Value], name: str) -> tuple[Value | None, tuple[str, ...]]:
    if not values:
        return None, ()
    earlier = list(dict.fromkeys(value for value in values if value != values[-1]))
    if not earlier:
        return values[-1], ()
    shown = ", ".join(map(str, earlier[:_MOST_SHOWN]))
    return values[-1], (f"{name} has several values; using the latest, {values[-1]}, for all days, instead of {shown}",)
