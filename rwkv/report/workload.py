"""The reviews of today and of the days ahead, for a report."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rwkv.arrays import AnyFloats, Floats, Ints
from rwkv.collection.days_ahead import ScheduledDay, askable
from rwkv.collection.due_days import due_days, moments_ahead
from rwkv.collection.learner import Learner
from rwkv.collection.schedule import first_day, play_ahead
from rwkv.data.collection import CardList
from rwkv.recurrent.engine import Engine
from rwkv.report.content import CURVE_TIMES_S, CardsNow, Today, Workload
from rwkv.vocab import SECONDS_PER_DAY

WORKLOAD_RETENTIONS = (0.7, 0.8, 0.85, 0.9, 0.95)
WORKLOAD_DAYS = 30

# The most simulated answers. If more are expected, a sample of the cards represents all.
MOST_ANSWERS = 6000
# The least and most cards of a sample for a retention.
_FEWEST_CARDS, _MOST_CARDS = 12, 600
# The expected answers of a card whose curve does not fall far enough: almost none, but not 0, for divisions.
_LEAST_ANSWERS = 1e-6


def today(engine: Engine, learner: Learner, at_s: float) -> Today:
    """The first day of `rwkv schedule`, at each card's own desired retention."""
    day = first_day(engine, learner, at_s)
    row = np.flatnonzero(np.isin(learner.cards.card_id, day.card_id))
    return Today(row=row, minutes=day.minutes, recall=day.recall)


def workload(engine: Engine, learner: Learner, at_s: float, cards: CardsNow) -> Workload:
    """Simulate the days ahead at each of WORKLOAD_RETENTIONS, as `rwkv schedule` does.

    If that takes too many answers, the retentions share one simulation. Each has a sample of the cards, evenly spaced
    in the order of their intervals. The engine's states stay unchanged.

    Raises:
        InputError: There is no space for the states.
    """
    active = np.flatnonzero(askable(learner))
    answers = [_expected_answers(cards.curves[active], retention) for retention in WORKLOAD_RETENTIONS]
    if sum(expected.sum() for expected in answers) <= MOST_ANSWERS:
        due = _due(engine, learner, at_s, active)
        pairs = zip(WORKLOAD_RETENTIONS, due, strict=True)
        plays = [_played(engine, learner, at_s, retention, days) for retention, days in pairs]
        return _workload(plays, [active] * len(plays), learner, active)
    budget, most = MOST_ANSWERS / len(answers), min(_MOST_CARDS, len(active) // len(answers))
    sizes = [int(np.clip(budget / max(expected.mean(), _LEAST_ANSWERS), _FEWEST_CARDS, most)) for expected in answers]
    groups = _groups(active[np.argsort(cards.interval_days[active], kind="stable")], sizes)
    desired = learner.cards.desired_retention.copy()
    for rows, retention in zip(groups, WORKLOAD_RETENTIONS, strict=True):
        desired[rows] = retention
    play = _played(engine, _only(learner, np.sort(np.concatenate(groups)), desired), at_s, None)
    return _workload([play] * len(groups), groups, learner, active)


def _expected_answers(curves: AnyFloats, retention: float) -> Floats:
    """Expected answers of each card [n] in WORKLOAD_DAYS, if all its intervals are as long as the current one."""
    is_below = (curves <= retention) & (CURVE_TIMES_S >= SECONDS_PER_DAY)
    days = np.where(is_below.any(1), CURVE_TIMES_S[is_below.argmax(1)] / SECONDS_PER_DAY, np.inf)
    return WORKLOAD_DAYS / np.maximum(1, days)


def _groups(order: Ints, sizes: Sequence[int]) -> list[Ints]:
    """Disjoint groups of rows with these sizes, each evenly spaced in an order."""
    groups = []
    for size in sizes:
        place = ((np.arange(size) + 0.5) * len(order) / size).astype(np.int64)
        groups.append(order[place])
        order = np.delete(order, place)
    return groups


def _due(engine: Engine, learner: Learner, at_s: float, rows: Ints) -> Ints:
    """The day [k, c] on which each card is due at each of WORKLOAD_RETENTIONS, without answers."""
    moments_s = moments_ahead(learner, at_s, WORKLOAD_DAYS)
    due = np.full((len(WORKLOAD_RETENTIONS), len(learner.cards)), WORKLOAD_DAYS)
    retention = np.repeat(np.array(WORKLOAD_RETENTIONS)[:, None], len(rows), 1)
    due[:, rows] = due_days(engine, learner.number[rows], learner.latest_s[rows], retention, moments_s)
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
    """The learner with some of the cards and other desired retentions. The history stays."""
    columns = {name: column[rows] for name, column in vars(learner.cards).items() if column is not None}
    cards = CardList(**columns)
    return replace(
        learner,
        cards=replace(cards, desired_retention=retention[rows]),
        number=learner.number[rows],
        latest_s=learner.latest_s[rows],
        latest_day=learner.latest_day[rows],
    )


def _workload(plays: list[list[ScheduledDay]], groups: list[Ints], learner: Learner, active: Ints) -> Workload:
    """Reviews and minutes of each group in its simulation, scaled to all cards."""
    reviews, minutes = np.zeros((2, len(groups), WORKLOAD_DAYS))
    for i, (play, rows) in enumerate(zip(plays, groups, strict=True)):
        times = len(active) / max(1, len(rows))
        for day in play:
            is_own = np.isin(day.card_id, learner.cards.card_id[rows])
            reviews[i, day.day] = is_own.sum() * times
            minutes[i, day.day] = day.card_minutes[is_own].sum() * times
    return Workload(np.array(WORKLOAD_RETENTIONS), reviews, minutes, min(map(len, groups)), len(active))
