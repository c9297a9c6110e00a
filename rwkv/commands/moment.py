"""What people write for a moment: 2026-02-01 (its noon), 2026-02-01T18:00, +3d, +12h, +30m."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np

from rwkv.commands.learner import Learner
from rwkv.data.days import local_time, utc_offsets
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

_DATE_LENGTH, _NOON = len("2026-02-01"), 12
_MOST_AHEAD_S = 100 * 365.25 * SECONDS_PER_DAY
_UNITS_S = {"d": SECONDS_PER_DAY, "h": 3600, "m": 60}
_EXPECTED = "a date such as 2026-02-01 (its noon) or 2026-02-01T18:00, or +3d, +12h, +30m from now"


def moment_of(text: str | None, learner: Learner) -> float:
    """Seconds, as the learner's times count, of a moment; None is now. A date is in the collection's time zone.

    Raises InputError where it is no moment, lies before the last review or a century after it, or is a date of a folder
    without dates.
    """
    at_s = learner.now_s() if text is None else _read(text, learner)
    if at_s > learner.now_s() + _MOST_AHEAD_S:
        raise InputError(
            "The moment lies too far ahead.", where="--at", got=repr(text), expected="a hundred years at most"
        )
    if learner.day_of(at_s) < int(learner.history.day_offset[-1]) or at_s < learner.end_s:
        what = "The moment lies before the last review, and the history says what came after it."
        raise InputError(what, where="--at", got=repr(text), hint="give a later one")
    return at_s


def written(at_s: float, learner: Learner) -> str:
    """A moment for people: local time, or days since the last review where there are no dates."""
    if learner.info is None:
        days = (at_s - learner.end_s) / SECONDS_PER_DAY
        return f"{days:.1f} days after the last review" if days else "the end of the last review"
    return f"{local_time(at_s, learner.info.timezone):%Y-%m-%d %H:%M} ({learner.info.timezone})"


def _read(text: str, learner: Learner) -> float:
    if match := re.fullmatch(r"\+(\d+(?:\.\d+)?)([dhm])", text):
        return learner.now_s() + float(match[1]) * _UNITS_S[match[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError("This is no moment.", where="--at", got=repr(text), expected=_EXPECTED) from error
    if learner.info is None:
        what = "The folder has no dates, only days."
        raise InputError(what, where="--at", got=repr(text), expected="+3d, +12h or +30m after the last review")
    if moment.tzinfo is not None:
        return moment.timestamp()
    if len(text) <= _DATE_LENGTH:
        moment += timedelta(hours=_NOON)  # midnight would be the day before, by the hour at which Anki's days begin
    at_s = int(moment.replace(tzinfo=UTC).timestamp())
    return float(at_s - int(utc_offsets(np.array([at_s]), learner.info.timezone)[0]))
