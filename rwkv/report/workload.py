"""What is to be done today and on the days ahead, for a report."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rwkv.arrays import AnyFloats, Floats, Ints
from rwkv.collection.due_days import due_days, moments_ahead
from rwkv.collection.learner import Learner
from rwkv.collection.schedule import ScheduledDay, askable, first_day, play_ahead
from rwkv.data.collection import CardList
from rwkv.recurrent.engine import Engine
from rwkv.report.content import CURVE_TIMES_S, CardsNow, Today, Workload
from rwkv.vocab import SECONDS_PER_DAY

WORKLOAD_RETENTIONS = (0.7, 0.8, 0.85, 0.9, 0.95)
WORKLOAD_DAYS = 30

# Answers that are played, in all. Where more are expected, a part of the cards stands for all.
MOST_ANSWERS = 2000
# Cards for each retention then, at least and at most.
_FEWEST_CARDS, _MOST_CARDS = 12, 200
# Taken for a card where no curve falls so far: next to none, but divisible by.
_LEAST_ANSWERS = 1e-6


def today(engine: Engine, learner: Learner, at_s: float) -> Today:
    """What `rwkv schedule` asks on its first day, at each card's own desired retention."""
    day = first_day(engine, learner, at_s)
    row = np.flatnonzero(np.isin(learner.cards.card_id, day.card_id))
    return Today(row=row, minutes=day.minutes, recall=day.recall)


def workload(engine: Engine, learner: Learner, at_s: float, cards: CardsNow) -> Workload:
    """The days ahead at each of WORKLOAD_RETENTIONS, each played through once as `rwkv schedule` does.

    Where that would be too much, the retentions are played in one go, each with cards of its own, at equal distances in
    the order of their intervals, which stand for all. Changes nothing. Raises InputError where there is no room for
    states.
    """
    asked = np.flatnonzero(askable(learner))
    answers = [_expected_answers(cards.curves[asked], retention) for retention in WORKLOAD_RETENTIONS]
    if sum(expected.sum() for expected in answers) <= MOST_ANSWERS:
        due = _due(engine, learner, at_s, asked)
        plays = [_played(engine, learner, at_s, *of) for of in zip(WORKLOAD_RETENTIONS, due, strict=True)]
        return _workload(plays, [asked] * len(plays), learner, asked)
    budget, most = MOST_ANSWERS / len(answers), min(_MOST_CARDS, len(asked) // len(answers))
    sizes = [int(np.clip(budget / max(expected.mean(), _LEAST_ANSWERS), _FEWEST_CARDS, most)) for expected in answers]
    groups = _groups(asked[np.argsort(cards.interval_days[asked], kind="stable")], sizes)
    wanted = learner.cards.desired_retention.copy()
    for rows, retention in zip(groups, WORKLOAD_RETENTIONS, strict=True):
        wanted[rows] = retention
    play = _played(engine, _only(learner, np.sort(np.concatenate(groups)), wanted), at_s, None)
    return _workload([play] * len(groups), groups, learner, asked)


def _expected_answers(curves: AnyFloats, retention: float) -> Floats:
    """About how many answers each card [n] takes in WORKLOAD_DAYS, if its next intervals are as long as this one."""
    is_below = (curves <= retention) & (CURVE_TIMES_S >= SECONDS_PER_DAY)
    days = np.where(is_below.any(1), CURVE_TIMES_S[is_below.argmax(1)] / SECONDS_PER_DAY, np.inf)
    return WORKLOAD_DAYS / np.maximum(1, days)


def _groups(order: Ints, sizes: Sequence[int]) -> list[Ints]:
    """Rows at equal distances in an order, so many of each group and none in two."""
    groups = []
    for size in sizes:
        place = ((np.arange(size) + 0.5) * len(order) / size).astype(np.int64)
        groups.append(order[place])
        order = np.delete(order, place)
    return groups


def _due(engine: Engine, learner: Learner, at_s: float, asked: Ints) -> Ints:
    """The day [k, c] on which each card is due at each of WORKLOAD_RETENTIONS if nothing is answered."""
    moments_s = moments_ahead(learner, at_s, WORKLOAD_DAYS)
    due = np.full((len(WORKLOAD_RETENTIONS), len(learner.cards)), WORKLOAD_DAYS)
    retention = np.repeat(np.array(WORKLOAD_RETENTIONS)[:, None], len(asked), 1)
    due[:, asked] = due_days(engine, learner.number[asked], learner.latest_s[asked], retention, moments_s)
    return due


def _played(
    engine: Engine, learner: Learner, at_s: float, retention: float | None, due: Ints | None = None
) -> list[ScheduledDay]:
    branch = engine.branch()
    try:
        return play_ahead(branch, learner, at_s, retention, WORKLOAD_DAYS, due=due)
    finally:
        branch.close()


def _only(learner: Learner, rows: Ints, retention: Floats) -> Learner:
    """The learner with some of the cards alone, of other desired retentions; what was answered stays."""
    columns = {name: column[rows] for name, column in vars(learner.cards).items() if column is not None}
    cards = CardList(**columns)
    return replace(
        learner,
        cards=replace(cards, desired_retention=retention[rows]),
        number=learner.number[rows],
        latest_s=learner.latest_s[rows],
        latest_day=learner.latest_day[rows],
    )


def _workload(plays: list[list[ScheduledDay]], groups: list[Ints], learner: Learner, asked: Ints) -> Workload:
    """Reviews and minutes of each group of cards in its play, times the cards for which one stands."""
    reviews, minutes = np.zeros((2, len(groups), WORKLOAD_DAYS))
    for i, (play, rows) in enumerate(zip(plays, groups, strict=True)):
        times = len(asked) / max(1, len(rows))
        for day in play:
            is_own = np.isin(day.card_id, learner.cards.card_id[rows])
            reviews[i, day.day] = is_own.sum() * times
            minutes[i, day.day] = day.card_minutes[is_own].sum() * times
    return Workload(np.array(WORKLOAD_RETENTIONS), reviews, minutes, min(map(len, groups)), len(asked))
