"""One simulation of the days ahead: due cards and their answers, day by day.

- Each day has one moment, at the time of day of the first one. Days are Anki's, by the collection's clock. A card is
  due on the first day on which its curve, half a day after the moment, has fallen to the desired retention, so
  intervals are rounded to days. Cards that are due now are due on day 0, or spread over the first days. A card is
  reviewed at most once a day. Suspended cards are never reviewed, and new cards only as the pace allows.
- If a day has a limit, the cards with the highest recall come first, because they can still be kept. The others wait.
  New cards come last, within the limit, in the order of their ids.
- RWKV-P gives the probabilities of the four ratings. Expected recall and minutes are means under these probabilities,
  with the person's median time for each rating.
- A rating is drawn with these probabilities. The card's state and curve follow, and its later days depend on them.
  Other cards, notes, decks and the person stay as they are, because drawn answers say nothing about the person.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rwkv.arrays import Bools, Floats, Ints
from rwkv.collection.due_days import due_days, moments_ahead
from rwkv.collection.learner import Learner, median_answer_ms, questions_at
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions
from rwkv.vocab import RATINGS

_MOST_CARDS = 1_000_000
_MS_PER_MINUTE = 60_000
_NEW_STATE, _REVIEW_STATE = 0, 2


@dataclass(frozen=True)
class Pace:
    """The pace of reviews.

    Attributes:
        limit: The most reviews a day; None for all due cards.
        new: New cards a day, within the limit.
        backlog_days: The number of days over which the cards due at the start are spread.

    Raises:
        InputError: A value is out of range.
    """

    limit: int | None = None
    new: int = 0
    backlog_days: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value, least in (
            ("limit", self.limit, 1),
            ("new", self.new, 0),
            ("backlog_days", self.backlog_days, 1),
        ):
            if value is not None and not least <= value <= _MOST_CARDS:
                expected = f"{least} to {_MOST_CARDS}"
                what, hint = "The pace is out of range.", "choose another number, or omit it"
                raise InputError(what, where=f"`{name}`", got=str(value), expected=expected, hint=hint)


DEFAULT_PACE: Pace = Pace()


@dataclass(frozen=True)
class ScheduledDay:
    """The n reviews of a day, by ascending recall.

    Attributes:
        day: The day's index; 0 is the first.
        card_id: The cards, int64 [n].
        is_repeat: Whether a card is due because of a simulated answer, bool [n].
        is_new: Whether a card is reviewed for the first time, bool [n].
        is_lapse: Whether the simulated answer is Again, bool [n].
        card_minutes: The expected minutes of each card, float64 [n].
        recall: The expected mean recall; NaN without cards.
        waiting: The number of due cards above the limit.
    """

    day: int
    card_id: Ints
    is_repeat: Bools
    is_new: Bools
    is_lapse: Bools
    card_minutes: Floats
    recall: float
    waiting: int

    @property
    def minutes(self) -> float:
        """The expected minutes of the day."""
        return float(self.card_minutes.sum())

    @property
    def search(self) -> str:
        """The cards that are due regardless of simulated answers, for Anki's search box."""
        return "cid:" + ",".join(map(str, self.card_id[~self.is_repeat].tolist())) if (~self.is_repeat).any() else ""


def askable(learner: Learner) -> Bools:
    """Whether each card may be due, bool [cards]: it has a review, and is neither suspended nor new in Anki."""
    return learner.is_reviewed & ~learner.cards.is_new & ~learner.cards.is_suspended


def introducible(learner: Learner) -> Bools:
    """Whether each card may have its first review, bool [cards]."""
    return learner.cards.is_new & ~learner.cards.is_suspended


class DaysAhead:
    """One simulation of the days ahead. Arrays [cards] are in the order of the learner's cards."""

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
        # State after the answers so far. A card that is due after the last day has due = days.
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
        """Simulate one day after another."""
        for day in range(self._days):
            due = np.flatnonzero(self._due <= day)
            rows, predictions = self._within_limit(due, day)
            is_new = np.isin(rows, self._new[: self._pace.new])
            waiting = len(due) - int((~is_new).sum())
            easiest_last = np.argsort(predictions.p_imm, kind="stable")
            answers = self._drawn(predictions)
            yield ScheduledDay(
                day,
                self._learner.cards.card_id[rows[easiest_last]],
                self._is_answered[rows[easiest_last]],
                is_new[easiest_last],
                (answers == 0)[easiest_last],
                (predictions.p_all @ self._answer_ms)[easiest_last] / _MS_PER_MINUTE,
                float(predictions.p_imm.mean()) if len(rows) else float("nan"),
                waiting,
            )
            self._new = self._new[int(is_new.sum()) :]
            self._answer(rows, answers, day)

    def _within_limit(self, due: Ints, day: int) -> tuple[Ints, Predictions]:
        """The cards of a day, due ones before new ones, and their predictions."""
        limit = len(due) + self._pace.new if self._pace.limit is None else self._pace.limit
        if len(due) > limit:
            likeliest_first = np.argsort(-self._ask(due, day).p_imm, kind="stable")
            due = np.sort(due[likeliest_first[:limit]])
        rows = np.concatenate([due, self._new[: min(self._pace.new, limit - len(due))]])
        return rows, self._ask(rows, day)

    def _spread(self, backlog: Ints) -> None:
        """Spread the backlog evenly over the first days, cards with the highest recall first."""
        if self._pace.backlog_days > 1 and len(backlog) > 0:
            likeliest_first = np.argsort(-self._ask(backlog, 0).p_imm, kind="stable")
            self._due[backlog[likeliest_first]] = np.arange(len(backlog)) * self._pace.backlog_days // len(backlog)

    def _now(self) -> Learner:
        return replace(self._learner, latest_s=self._latest_s, latest_day=self._latest_day)

    def _ask(self, rows: Ints, day: int) -> Predictions:
        return self._engine.predict_many(questions_at(self._now(), rows, self._moments_s[day]))

    def _drawn(self, predictions: Predictions) -> Ints:
        """A drawn answer of each card, as an index of RATINGS, int64 [n]."""
        chance = self._rng.random(len(predictions.p_all))
        return (chance[:, None] > predictions.p_all.cumsum(1)[:, :-1]).sum(1)

    def _answer(self, rows: Ints, index: Ints, day: int) -> None:
        if len(rows) == 0:
            return
        at_s = self._moments_s[day]
        self._engine.feed_simulated(self._reviews(rows, index, at_s))
        self._latest_s[rows], self._latest_day[rows] = at_s, self._learner.day_of(at_s)
        self._is_answered[rows] = True
        self._set_due(rows, day + 1)

    def _reviews(self, rows: Ints, index: Ints, at_s: float) -> RevlogTable:
        """The answers as reviews that continue the history."""
        history, learner = self._learner.history, self._now()
        questions = questions_at(learner, rows, at_s)
        first = int(history.review_th[-1]) + self._engine.reviews - len(history) + 1
        return replace(
            history,
            review_th=(first + np.arange(len(rows))).astype(np.int32),
            card=self._learner.number[rows].astype(np.int32),
            rating=np.array(RATINGS, np.int8)[index],
            state=np.where(learner.is_reviewed[rows], _REVIEW_STATE, _NEW_STATE).astype(np.int8),
            duration_ms=self._answer_ms[index],
            day_offset=np.array([question.day_offset for question in questions], np.int32),
            elapsed_days=np.array([question.elapsed_days for question in questions], np.int32),
            elapsed_s=np.array([question.elapsed_s for question in questions], np.int64),
            cards=self._learner.places,
        )

    def _set_due(self, rows: Ints, from_day: int) -> None:
        """Set the first day, from `from_day` on, on which each of the cards is due."""
        number, latest_s, retention = self._learner.number[rows], self._latest_s[rows], self._retention[None, rows]
        self._due[rows] = due_days(self._engine, number, latest_s, retention, self._moments_s, from_day)[0]
