"""What to review on each of the days ahead: due cards, and what their answers would bring, played through once.

The model of the days ahead, in full:
- Each day has one moment, at the time of day of the first; days are Anki's, by the collection's clock. A card is due on
  the first day on which its curve, half a day later, has fallen to the desired retention: intervals are
  rounded to days. What is due already is due on day 0, or spread over the first days. Nothing is asked twice on a day;
  suspended cards are not asked, and cards that are new only where so many a day are wanted.
- Where a day has a limit, the cards that are most likely recalled go first: they can still be kept. The others wait.
  New cards come last, within the limit, in order of their ids.
- A due card is answered once. RWKV-P gives the probabilities of the four ratings: expected recall and minutes are
  their means, minutes by the person's own median time for each button.
- Which of the four it is, is drawn with these probabilities. The engine takes the answers in, as if they had been
  given; all later days follow from the states and curves after them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.arrays import Bools, Floats, Ints
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.due_days import due_days, moments_ahead
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, median_answer_ms, questions_at, read_learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import checked_retention
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import progress
from rwkv.vocab import RATINGS

MOST_DAYS = 3650
_MOST_CARDS = 1_000_000

_DEFAULT_SEED = 1
_MS_PER_MINUTE = 60_000
_NEW_STATE, _REVIEW_STATE = 0, 2


@dataclass(frozen=True)
class Pace:
    """How much is asked on a day.

    limit: at most so many reviews, None for all that are due. new: so many new cards, within the limit. backlog_days:
    over so many days the cards are spread that are due at the start.
    """

    limit: int | None = None
    new: int = 0
    backlog_days: int = 1

    def __post_init__(self) -> None:
        """Raises InputError for what nobody can keep."""
        for option, value, least in (
            ("limit", self.limit, 1),
            ("new", self.new, 0),
            ("backlog-days", self.backlog_days, 1),
        ):
            if value is not None and not least <= value <= _MOST_CARDS:
                expected = f"{least} to {_MOST_CARDS}"
                hint = f"give another --{option}, or leave it out"
                raise InputError("This is no pace.", where=f"--{option}", got=str(value), expected=expected, hint=hint)


@dataclass(frozen=True)
class ScheduledDay:
    """day: 0 is the first. card_id [n]: the cards to review, those least likely recalled first. is_repeat bool [n]: due
    because of an answer within these days, which might have been another. is_new bool [n]: asked for the first time.
    card_minutes float64 [n], recall: expected; recall is the mean over the cards, NaN for none. waiting: due cards
    above the limit.
    """

    day: int
    card_id: Ints
    is_repeat: Bools
    is_new: Bools
    card_minutes: Floats
    recall: float
    waiting: int

    @property
    def minutes(self) -> float:
        """Expected of the day."""
        return float(self.card_minutes.sum())

    @property
    def search(self) -> str:
        """The cards that are due whatever is answered before, for Anki's search box."""
        return "cid:" + ",".join(map(str, self.card_id[~self.is_repeat].tolist())) if (~self.is_repeat).any() else ""


def schedule_collection(
    root: Path,
    user: int,
    model: ChosenModel,
    retention: float | None = None,
    days: int = 30,
    at_s: float | None = None,
    seed: int = _DEFAULT_SEED,
    pace: Pace = Pace(),
    states_bytes: int | None = None,
) -> list[ScheduledDay]:
    """The days ahead of a person, the first at `at_s` (None: now).

    retention: desired of all cards; None for each card's own. seed: of the answers that are drawn. Writes nothing but
    the engine's states beside an imported collection, at most states_bytes (see `fed_engine`). Raises HistoryError,
    InputError, CheckpointError.
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
    pace: Pace = Pace(),
    states_bytes: int | None = None,
) -> tuple[list[ScheduledDay], Predictions | None]:
    """The same of a learner who was read already, and the predictions of the past reviews, see `fed_engine`."""
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
    pace: Pace = Pace(),
    due: Ints | None = None,
) -> list[ScheduledDay]:
    """The same with an engine that has read the learner's history; it also takes in the answers that are drawn.

    due [cards]: the days on which cards are due if none is answered, where `due_days` has said them already.
    """
    play = _play(engine, learner, at_s, retention, days, seed, pace, due)
    what = "days ahead" if retention is None else f"days ahead at {retention:.0%}"
    return list(progress(play.days(), days, what, "day"))


def first_day(engine: Engine, learner: Learner, at_s: float, retention: float | None = None) -> ScheduledDay:
    """The first of these days alone, which no answer decides; the engine takes nothing in."""
    return next(_play(engine, learner, at_s, retention, 1, _DEFAULT_SEED, Pace()).days())


def _play(
    engine: Engine,
    learner: Learner,
    at_s: float,
    retention: float | None,
    days: int,
    seed: int,
    pace: Pace,
    due: Ints | None = None,
) -> "_Play":
    if not 1 <= days <= MOST_DAYS:
        what, expected = "So many days cannot be looked ahead.", f"1 to {MOST_DAYS}"
        raise InputError(what, where="--days", got=str(days), expected=expected, hint="ask for fewer or more")
    if seed < 0:
        hint = "give another --seed"
        raise InputError("This is no seed.", where="--seed", got=str(seed), expected="0 or more", hint=hint)
    own = learner.cards.desired_retention
    wanted = checked_retention(own if retention is None else np.full_like(own, retention))
    return _Play(engine, learner, wanted, at_s, days, np.random.default_rng(seed), pace, due)


def askable(learner: Learner) -> Bools:
    """Which cards may be due [cards]: those with a review, neither suspended nor new in Anki."""
    return learner.is_reviewed & ~learner.cards.is_new & ~learner.cards.is_suspended


def introducible(learner: Learner) -> Bools:
    """Which cards may be asked for the first time [cards]."""
    return learner.cards.is_new & ~learner.cards.is_suspended


class _Play:
    """The days ahead, played through once. Columns [cards] are by row of the learner's cards."""

    def __init__(
        self,
        engine: Engine,
        learner: Learner,
        retention: Floats,
        at_s: float,
        days: int,
        rng: np.random.Generator,
        pace: Pace,
        due: Ints | None,
    ) -> None:
        self._engine, self._learner, self._days, self._rng, self._pace = engine, learner, days, rng, pace
        self._moments_s = moments_ahead(learner, at_s, days)
        self._answer_ms = np.array(median_answer_ms(learner.history))
        self._retention = retention
        # By row, as they are after the answers so far; due: the first day, as many as there are days where it is later.
        self._latest_s, self._latest_day = learner.latest_s.copy(), learner.latest_day.copy()
        self._due = np.full(len(learner.cards), days)
        self._is_answered = np.zeros(len(learner.cards), bool)
        self._new = np.flatnonzero(introducible(learner)) if pace.new else np.empty(0, np.int64)
        rows = np.flatnonzero(askable(learner))
        if due is None:
            self._set_due(rows, 0)
        else:
            self._due[rows] = due[rows]
        self._spread(rows[self._due[rows] == 0])

    def days(self) -> Iterator[ScheduledDay]:
        """One day after another."""
        for day in range(self._days):
            due = np.flatnonzero(self._due <= day)
            rows, said = self._within_limit(due, day)
            is_new = np.isin(rows, self._new[: self._pace.new])
            waiting = len(due) - int((~is_new).sum())
            easiest_last = np.argsort(said.p_imm, kind="stable")
            yield ScheduledDay(
                day,
                self._learner.cards.card_id[rows[easiest_last]],
                self._is_answered[rows[easiest_last]],
                is_new[easiest_last],
                (said.p_all @ self._answer_ms)[easiest_last] / _MS_PER_MINUTE,
                float(said.p_imm.mean()) if len(rows) else float("nan"),
                waiting,
            )
            self._new = self._new[int(is_new.sum()) :]
            self._answer(rows, said, day)

    def _within_limit(self, due: Ints, day: int) -> tuple[Ints, Predictions]:
        """The rows that are asked on a day, due ones and then new ones, and what is said of them."""
        limit = len(due) + self._pace.new if self._pace.limit is None else self._pace.limit
        if len(due) > limit:
            likeliest_first = np.argsort(-self._ask(due, day).p_imm, kind="stable")
            due = np.sort(due[likeliest_first[:limit]])
        rows = np.concatenate([due, self._new[: min(self._pace.new, limit - len(due))]])
        return rows, self._ask(rows, day)

    def _spread(self, backlog: Ints) -> None:
        """Put what is due already on the first days, as many each, the likeliest to be recalled first."""
        if self._pace.backlog_days > 1 and len(backlog) > 0:
            likeliest_first = np.argsort(-self._ask(backlog, 0).p_imm, kind="stable")
            self._due[backlog[likeliest_first]] = np.arange(len(backlog)) * self._pace.backlog_days // len(backlog)

    def _now(self) -> Learner:
        return replace(self._learner, latest_s=self._latest_s, latest_day=self._latest_day)

    def _ask(self, rows: Ints, day: int) -> Predictions:
        return self._engine.predict_many(questions_at(self._now(), rows, self._moments_s[day]))

    def _answer(self, rows: Ints, said: Predictions, day: int) -> None:
        if len(rows) == 0:
            return
        drawn = self._rng.random(len(rows))[:, None] > said.p_all.cumsum(1)[:, :-1]
        index = drawn.sum(1)
        at_s = self._moments_s[day]
        self._engine.feed(self._reviews(rows, index, at_s))
        self._latest_s[rows], self._latest_day[rows] = at_s, self._learner.day_of(at_s)
        self._is_answered[rows] = True
        self._set_due(rows, day + 1)

    def _reviews(self, rows: Ints, index: Ints, at_s: float) -> RevlogTable:
        """The answers as a history that goes on."""
        history, now = self._learner.history, self._now()
        asked = questions_at(now, rows, at_s)
        first = int(history.review_th[-1]) + self._engine.reviews - len(history) + 1
        return replace(
            history,
            review_th=(first + np.arange(len(rows))).astype(np.int32),
            card=self._learner.number[rows].astype(np.int32),
            rating=np.array(RATINGS, np.int8)[index],
            state=np.where(now.is_reviewed[rows], _REVIEW_STATE, _NEW_STATE).astype(np.int8),
            duration_ms=self._answer_ms[index],
            day_offset=np.array([question.day_offset for question in asked], np.int32),
            elapsed_days=np.array([question.elapsed_days for question in asked], np.int32),
            elapsed_s=np.array([question.elapsed_s for question in asked], np.int64),
            cards=self._learner.places,
        )

    def _set_due(self, rows: Ints, from_day: int) -> None:
        """The first day, from `from_day` on, on which each of the cards is due; as many as there are days: later."""
        number, latest_s, retention = self._learner.number[rows], self._latest_s[rows], self._retention[None, rows]
        self._due[rows] = due_days(self._engine, number, latest_s, retention, self._moments_s, from_day)[0]
