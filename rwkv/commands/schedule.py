"""What to review on each of the days ahead: due cards, and what their answers would bring, played through once.

The model of the days ahead, in full:
- Each day has one moment, at the time of day of the first. A card is due on the first day on which its forgetting
  curve, half a day later, has fallen to the desired retention: intervals are rounded to days. What is due already is
  due on day 0. Nothing is asked twice on a day; suspended cards and cards that were never reviewed are not asked.
- A due card is answered once. RWKV-P gives the probabilities of the four ratings: expected recall and minutes are
  their means, minutes by the person's own median time for each button.
- Which of the four it is, is drawn with these probabilities. The engine takes the answers in, as if they had been
  given; all later days follow from the states and curves after them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rwkv.commands.answer_times import median_answer_ms
from rwkv.commands.chosen_model import ChosenModel
from rwkv.commands.fed_engine import fed_engine
from rwkv.commands.learner import Learner, questions_at, read_learner
from rwkv.data.collection import Floats
from rwkv.data.history import Ints, RevlogTable
from rwkv.errors import InputError
from rwkv.model.curve import recall
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import checked_retention
from rwkv.recurrent.predict import Predictions
from rwkv.runtime import progress
from rwkv.vocab import RATINGS, SECONDS_PER_DAY

MOST_DAYS = 3650

_DEFAULT_SEED = 1
_MS_PER_MINUTE = 60_000
_REVIEW_STATE = 2
# Curves that are looked at together.
_TOGETHER = 1024


@dataclass(frozen=True)
class ScheduledDay:
    """day: 0 is the first. card_id [n]: the cards to review, those least likely recalled first. is_repeat bool [n]: due
    because of an answer within these days, which might have been another. minutes, recall: expected; recall is the mean
    over the cards, NaN for none.
    """

    day: int
    card_id: Ints
    is_repeat: np.ndarray
    minutes: float
    recall: float

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
) -> list[ScheduledDay]:
    """The days ahead of a person, the first at `at_s` (None: now).

    retention: desired of all cards; None for each card's own. seed: of the answers that are drawn. Writes nothing but
    the engine's states beside an imported collection. Raises HistoryError, InputError, CheckpointError.
    """
    learner = read_learner(root, user)
    return schedule_learner(learner, model, learner.now_s() if at_s is None else at_s, retention, days, seed)


def schedule_learner(
    learner: Learner,
    model: ChosenModel,
    at_s: float,
    retention: float | None = None,
    days: int = 30,
    seed: int = _DEFAULT_SEED,
) -> list[ScheduledDay]:
    """The same of a learner who was read already."""
    engine = fed_engine(learner, model)
    try:
        return play_ahead(engine, learner, at_s, retention, days, seed)
    finally:
        engine.close()


def play_ahead(
    engine: Engine,
    learner: Learner,
    at_s: float,
    retention: float | None = None,
    days: int = 30,
    seed: int = _DEFAULT_SEED,
) -> list[ScheduledDay]:
    """The same with an engine that has read the learner's history; it also takes in the answers that are drawn."""
    if not 1 <= days <= MOST_DAYS:
        raise InputError("So many days cannot be looked ahead.", got=str(days), expected=f"1 to {MOST_DAYS}")
    if seed < 0:
        raise InputError("This is no seed.", where="seed", got=str(seed), expected="0 or more")
    own = learner.cards.desired_retention
    wanted = checked_retention(own if retention is None else np.full_like(own, retention))
    play = _Play(engine, learner, wanted, at_s, days, np.random.default_rng(seed))
    what = "days ahead" if retention is None else f"days ahead at {retention:.0%}"
    return list(progress(play.days(), days, what, "day"))


class _Play:
    """The days ahead, played through once. All columns [cards] are of the cards that may be asked."""

    def __init__(
        self,
        engine: Engine,
        learner: Learner,
        retention: Floats,
        at_s: float,
        days: int,
        rng: np.random.Generator,
    ) -> None:
        self._engine, self._learner, self._at_s, self._days, self._rng = engine, learner, at_s, days, rng
        self._answer_ms = np.array(median_answer_ms(learner.history))
        self._rows = np.flatnonzero(learner.is_reviewed & ~learner.cards.is_suspended)
        self._retention = retention
        # By row of the learner's cards, as they are after the answers so far.
        self._latest_s, self._latest_day = learner.latest_s.copy(), learner.latest_day.copy()
        self._due = np.full(len(learner.cards), days)
        self._is_answered = np.zeros(len(learner.cards), bool)
        self._set_due(self._rows, 0)

    def days(self) -> Iterator[ScheduledDay]:
        """One day after another."""
        for day in range(self._days):
            rows = self._rows[self._due[self._rows] == day]
            said = self._ask(rows, day)
            easiest_last = np.argsort(said.p_imm, kind="stable")
            yield ScheduledDay(
                day,
                self._learner.cards.card_id[rows[easiest_last]],
                self._is_answered[rows[easiest_last]],
                float((said.p_all @ self._answer_ms).sum()) / _MS_PER_MINUTE,
                float(said.p_imm.mean()) if len(rows) else float("nan"),
            )
            self._answer(rows, said, day)

    def _moment(self, day: int) -> float:
        return self._at_s + day * SECONDS_PER_DAY

    def _now(self) -> Learner:
        return replace(self._learner, latest_s=self._latest_s, latest_day=self._latest_day)

    def _ask(self, rows: Ints, day: int) -> Predictions:
        return self._engine.predict_many(questions_at(self._now(), rows, self._moment(day)))

    def _answer(self, rows: Ints, said: Predictions, day: int) -> None:
        if len(rows) == 0:
            return
        drawn = self._rng.random(len(rows))[:, None] > said.p_all.cumsum(1)[:, :-1]
        index = drawn.sum(1)
        self._engine.feed(self._reviews(rows, index, day))
        self._latest_s[rows], self._latest_day[rows] = self._moment(day), self._learner.day_of(self._moment(day))
        self._is_answered[rows] = True
        self._set_due(rows, day + 1)

    def _reviews(self, rows: Ints, index: Ints, day: int) -> RevlogTable:
        """The answers as a history that goes on."""
        history = self._learner.history
        asked = questions_at(self._now(), rows, self._moment(day))
        first = int(history.review_th[-1]) + self._engine.reviews - len(history) + 1
        return replace(
            history,
            review_th=(first + np.arange(len(rows))).astype(np.int32),
            card=self._learner.number[rows].astype(np.int32),
            rating=np.array(RATINGS, np.int8)[index],
            state=np.full(len(rows), _REVIEW_STATE, np.int8),
            duration_ms=self._answer_ms[index],
            day_offset=np.array([question.day_offset for question in asked], np.int32),
            elapsed_days=np.array([question.elapsed_days for question in asked], np.int32),
            elapsed_s=np.array([question.elapsed_s for question in asked], np.int64),
        )

    def _set_due(self, rows: Ints, from_day: int) -> None:
        """The first day, from `from_day` on, on which each of the cards is due; as many as there are days: later."""
        self._due[rows] = self._days
        for start in range(0, len(rows), _TOGETHER):
            part = rows[start : start + _TOGETHER]
            curves = torch.cat([self._engine.curve(number).outputs for number in self._learner.number[part].tolist()])
            self._due[part] = self._first_day(curves, part, from_day)

    def _first_day(self, curves: Tensor, rows: Ints, from_day: int) -> Ints:
        due = np.full(len(rows), self._days)
        for day in range(self._days - 1, from_day - 1, -1):
            elapsed_s = self._moment(day) + SECONDS_PER_DAY / 2 - self._latest_s[rows]
            p: Floats = recall(curves, torch.from_numpy(np.maximum(0, elapsed_s))).numpy()
            due[p <= self._retention[rows]] = day
        return due
