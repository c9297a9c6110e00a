"""Moments on the command line: +3d, +12h, +30m, today, 2026-02-01 (noon), 2026-02-01T18:00."""

import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import TypeVar

from rwkv.collection.learner import Learner
from rwkv.data.days import EARLIEST_S, LATEST_S, epoch_of, local_time
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

Parsed = TypeVar("Parsed")

_NOW = ("now", "today")
_NOON = time(12)
_MOST_AHEAD_S = 100 * 365.25 * SECONDS_PER_DAY
_UNITS_S = {"d": SECONDS_PER_DAY, "h": 3600, "m": 60}
_EXPECTED = "+3d, +12h or +30m from now, today, or a date as YYYY-MM-DD (noon) or YYYY-MM-DDTHH:MM"


def moment_of(text: str | None, learner: Learner) -> float:
    """Parse a moment, in the collection's time zone.

    A date without a time means noon, or the last review if that was later on the same day.

    Args:
        text: The moment; None for now.
        learner: The person.

    Returns:
        Seconds of the learner's clock.

    Raises:
        InputError: The text is invalid, before the last review, more than a century ahead, or a date for a folder
            without dates.
    """
    at_s = learner.now_s() if text is None or text.lower() in _NOW else _read(text, learner)
    if at_s > learner.now_s() + _MOST_AHEAD_S:
        raise _too_far_ahead(text)
    if at_s < learner.end_s:
        raise InputError(
            "The moment is before the last review.",
            where="`at`",
            got=repr(text),
            expected=f"{moment_text(learner.end_s, learner)} or later",
            hint="choose a later moment, or omit it for now",
        )
    return at_s


def moment_text(at_s: float, learner: Learner) -> str:
    """A moment in words: local time, or days since the last review if there are no dates."""
    if learner.info is None:
        days = (at_s - learner.end_s) / SECONDS_PER_DAY
        return f"{days:.1f} days after the last review" if days else "the end of the last review"
    return f"{local_time(at_s, learner.info.timezone):%Y-%m-%d %H:%M} ({learner.info.timezone})"


def _read(text: str, learner: Learner) -> float:
    if match := re.fullmatch(r"\+(\d+(?:\.\d+)?)([dhm])", text):
        return _from_now(float(match[1]) * _UNITS_S[match[2]], match[2], text, learner)
    day = _parsed(date.fromisoformat, text)
    moment = _parsed(datetime.fromisoformat, text) if day is None else datetime.combine(day, _NOON)
    if moment is None:
        hint = "write the moment in one of these ways"
        raise InputError("The moment is not understood.", where="`at`", got=repr(text), expected=_EXPECTED, hint=hint)
    if learner.info is None:
        what, expected = "The folder has no dates, only days.", "+3d, +12h or +30m after the last review"
        raise InputError(what, where="`at`", got=repr(text), expected=expected, hint="count from the last review")
    if moment.tzinfo is not None:
        return moment.timestamp()
    at_s = epoch_of(moment, learner.info.timezone)
    if not EARLIEST_S < at_s < LATEST_S:  # the caller refuses it as too early or too late
        return at_s
    _check_clock(moment, at_s, learner.info.timezone, text)
    is_last_day = day is not None and at_s < learner.end_s and learner.day_of(at_s) == learner.day_of(learner.end_s)
    return learner.end_s if is_last_day else at_s


def _parsed(parse: Callable[[str], Parsed], text: str) -> Parsed | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _from_now(ahead_s: float, unit: str, text: str, learner: Learner) -> float:
    """The moment after a time span. After whole days the clock shows the same time, also across clock changes."""
    if ahead_s > _MOST_AHEAD_S:
        raise _too_far_ahead(text)
    days = int(ahead_s // SECONDS_PER_DAY) if unit == "d" else 0
    return learner.days_later(learner.now_s(), days) + ahead_s - days * SECONDS_PER_DAY


def _check_clock(moment: datetime, at_s: float, timezone: str, text: str) -> None:
    shown = local_time(at_s, timezone).replace(tzinfo=None)
    if shown != moment:
        what = "The clock skips this time on that day."
        raise InputError(what, where="`at`", got=f"{text} in {timezone}", hint=f"use {shown:%Y-%m-%dT%H:%M}")


def _too_far_ahead(text: str | None) -> InputError:
    what, expected = "The moment is too far ahead.", "at most a hundred years from now"
    return InputError(what, where="`at`", got=repr(text), expected=expected, hint="choose an earlier moment")
