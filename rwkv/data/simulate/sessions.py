"""The sessions of simulated learners: planned days, breaks, exams, the form of a day, changes of habits."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.simulate.memory import DAY_MS
from rwkv.data.simulate.shapes import bounds, heavy, logit, sigmoid

_HOUR_MS = DAY_MS // 24
_MOST_MOOD = 3.0
_EXAM_SESSIONS = 6
_FORESEEN_DAYS = 30
_MOST_IDLE_DAYS = 4000
_NEVER = 10**9


@dataclass(frozen=True)
class Sessions:
    """Planned sessions. Those of user k are first[k] to first[k + 1].

    Attributes:
        day, start_ms: The day and start, from the rollover of day 0, int64.
        form: A term of the logit of recall.
        habit: 0 before and 1 after a change of habits.
        ahead_days: The days by which reviews are moved forward before an exam.
        resets: Whether cards are reset before the session.
    """

    first: Ints
    day: Ints
    start_ms: Ints
    form: Floats
    habit: Ints
    ahead_days: Ints
    resets: Bools


def plan_sessions(
    trait: Iterator[Floats], quirk: npt.NDArray[np.str_], counts: Ints, uniform: Floats, normal: Floats
) -> Sessions:
    """Plan sessions with pauses, breaks of months, and second sessions in the evening.

    Args:
        counts: The number of sessions of each user [users].
        uniform, normal: Random numbers [sessions, 4] and [sessions, 2].
    """
    user = np.repeat(np.arange(len(quirk)), counts)
    first = bounds(counts)
    index = np.arange(len(user)) - first[user]
    day, is_second = _days(trait, quirk, counts, first, user, index, uniform)
    usual_hour = (9 + 3 * next(trait))[user]
    hour = np.clip(usual_hour, 1, 15) + 0.3 * logit(uniform[:, 2]) + 5 * is_second
    hour = np.where((quirk == "one day")[user], 1 + 10 * index / counts[user], np.clip(hour, 0.2, 21))
    change, reset = _moment(trait, 0.35, counts), _moment(trait, 0.04, counts)
    return Sessions(
        first=first,
        day=day,
        start_ms=day * DAY_MS + (hour * _HOUR_MS).astype(np.int64),
        form=_form(trait, first, user, day, index / counts[user], normal),
        habit=(index >= change[user]).astype(np.int64),
        ahead_days=_FORESEEN_DAYS * _before_exam(trait, counts, user, index),
        resets=index == reset[user],
    )


def _days(
    trait: Iterator[Floats],
    quirk: npt.NDArray[np.str_],
    counts: Ints,
    first: Ints,
    user: Ints,
    index: Ints,
    uniform: Floats,
) -> tuple[Ints, Bools]:
    """The day of each session, and whether it is the second one of the day."""
    lazy = np.minimum(0.6 * np.exp(0.9 * next(trait)), _MOST_IDLE_DAYS / counts)[user]
    twice_share = sigmoid(1.2 * next(trait) - 2)[user]
    break_share = (np.exp(0.9 * next(trait)) / (0.5 * counts + 20))[user]
    gap_days = 1 + np.floor(lazy * -np.log1p(-uniform[:, 0])).astype(np.int64)
    has_break = uniform[:, 1] < break_share
    gap_days += has_break * (20 + 160 * uniform[:, 1] / break_share).astype(np.int64)
    is_gap_of_years = (index % np.maximum(4, counts // 6)[user] == 3) & (quirk == "years away")[user]
    gap_days += is_gap_of_years * (400 + 1100 * uniform[:, 1]).astype(np.int64)
    wants_second = (uniform[:, 2] < twice_share) & (index > 0)
    is_second = wants_second & ~np.concatenate(([False], wants_second[:-1]))
    gap_days[is_second | (index == 0) | (quirk == "one day")[user]] = 0
    total_days = np.cumsum(gap_days)
    return total_days - total_days[first[user]], is_second


def _form(trait: Iterator[Floats], first: Ints, user: Ints, day: Ints, progress: Floats, normal: Floats) -> Floats:
    """The logit of each session: a daily term, a random walk over months, and a trend over the history."""
    day_spread, walk_spread = heavy(next(trait), 0.35), heavy(next(trait), 0.06)
    trend = 0.3 * next(trait)
    gap_days = np.minimum(np.diff(day, prepend=0).clip(0), 60)
    steps = walk_spread[user] * np.sqrt(gap_days) * normal[:, 1]
    # One learner at a time, so that rounding does not depend on the batch.
    walk = np.concatenate([np.cumsum(steps[a:b]) for a, b in pairwise(first)])
    mood = 1.6 * np.tanh(walk / 1.6) + trend[user] * (progress - 0.5) + day_spread[user] * normal[:, 0]
    return np.clip(mood, -_MOST_MOOD, _MOST_MOOD)


def _moment(trait: Iterator[Floats], share: float, counts: Ints) -> Ints:
    """The session of an event, for a share of the users; never for the others."""
    u = sigmoid(1.702 * next(trait))
    return np.where(u < share, (u / share * counts / 2).astype(np.int64) + 1, _NEVER)


def _before_exam(trait: Iterator[Floats], counts: Ints, user: Ints, index: Ints) -> Bools:
    """Whether a session is shortly before an exam. Most users have none."""
    rhythm = next(trait)
    every = np.maximum(12, counts * sigmoid(next(trait)) / 2).astype(np.int64)
    return ((rhythm > 1)[user]) & (index % every[user] >= every[user] - _EXAM_SESSIONS)
