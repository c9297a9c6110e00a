"""The reviews of the days ahead, by one simulation of due cards and their answers, see rwkv.collection.days_ahead."""

from pathlib import Path

import numpy as np

from rwkv.arrays import Floats, Ints
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.days_ahead import DEFAULT_PACE, DaysAhead, Pace, ScheduledDay
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, read_learner
from rwkv.errors import InputError
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import checked_retention
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import progress

MOST_DAYS = 3650
_DEFAULT_SEED = 1


def schedule_collection(
    root: Path,
    user: int,
    model: ChosenModel,
    retention: float | None = None,
    days: int = 30,
    at_s: float | None = None,
    seed: int = _DEFAULT_SEED,
    pace: Pace = DEFAULT_PACE,
    states_bytes: int | None = None,
) -> list[ScheduledDay]:
    """Simulate the reviews of the days ahead.

    The only file written is the engine's states beside an imported collection; see `fed_engine`.

    Args:
        root: A folder written by `rwkv import`, or a dataset.
        user: The user number.
        model: The model.
        retention: The desired retention of all cards; None for each card's own.
        days: The number of days.
        at_s: The moment of the first day, in seconds of the learner's clock; None for now.
        seed: The seed of the simulated answers.
        pace: Limits of a day.
        states_bytes: The largest size of the states' file; see `fed_engine`.

    Raises:
        HistoryError: The history cannot be used.
        InputError: An argument is wrong.
        CheckpointError: The file of weights cannot be used.
    """
    learner = read_learner(root, user)
    at_s = learner.now_s() if at_s is None else at_s
    return schedule_learner(learner, model, at_s, retention, days, seed, pace, states_bytes)[0]


def schedule_learner(
    learner: Learner,
    model: ChosenModel,
    at_s: float,
    retention: float | None = None,
    days: int = 30,
    seed: int = _DEFAULT_SEED,
    pace: Pace = DEFAULT_PACE,
    states_bytes: int | None = None,
) -> tuple[list[ScheduledDay], Predictions | None]:
    """Like `schedule_collection`, for a learner in memory. Also returns the predictions of `fed_engine`."""
    _check(days, seed)
    _desired(learner, retention)  # fail before the history is read
    engine, past = fed_engine(learner, model, states_bytes)
    try:
        return play_ahead(engine, learner, at_s, retention, days, seed, pace), past
    finally:
        engine.close()


def play_ahead(
    engine: Engine,
    learner: Learner,
    at_s: float,
    retention: float | None = None,
    days: int = 30,
    seed: int = _DEFAULT_SEED,
    pace: Pace = DEFAULT_PACE,
    due: Ints | None = None,
) -> list[ScheduledDay]:
    """Like `schedule_learner`, with an engine that has read the learner's history and also reads the drawn answers.

    Args:
        due: The days on which cards are due without answers, int64 [cards], if `due_days` has computed them.
    """
    play = _play(engine, learner, at_s, retention, days, seed, pace, due)
    what = "days ahead" if retention is None else f"days ahead at {retention:.0%}"
    return list(progress(play.days(), days, what, "day"))


def first_day(engine: Engine, learner: Learner, at_s: float, retention: float | None = None) -> ScheduledDay:
    """The first day, which does not depend on simulated answers. The engine stays unchanged."""
    return next(_play(engine, learner, at_s, retention, 1, _DEFAULT_SEED, DEFAULT_PACE).days())


def _play(
    engine: Engine,
    learner: Learner,
    at_s: float,
    retention: float | None,
    days: int,
    seed: int,
    pace: Pace,
    due: Ints | None = None,
) -> DaysAhead:
    _check(days, seed)
    return DaysAhead(engine, learner, _desired(learner, retention), at_s, days, np.random.default_rng(seed), pace, due)


def _check(days: int, seed: int) -> None:
    """Raise InputError if the number of days or the seed is out of range."""
    if not 1 <= days <= MOST_DAYS:
        what, expected = "The number of days is out of range.", f"1 to {MOST_DAYS}"
        raise InputError(what, where="`days`", got=str(days), expected=expected, hint="choose another number")
    if seed < 0:
        hint = "choose another number"
        raise InputError("The seed is negative.", where="`seed`", got=str(seed), expected="0 or more", hint=hint)


def _desired(learner: Learner, retention: float | None) -> Floats:
    """The desired retention of each card, float64 [cards]. Raises InputError if one is out of range."""
    desired = learner.cards.desired_retention
    return checked_retention(desired if retention is None else np.full_like(desired, retention), "`retention`")
