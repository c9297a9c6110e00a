"""The days on which cards are due by their forgetting curves."""

from collections.abc import Sequence

import numpy as np

from rwkv.arrays import Float32s, Floats, Ints
from rwkv.collection.learner import Learner
from rwkv.model.recall import recall
from rwkv.recurrent.engine import Engine
from rwkv.vocab import SECONDS_PER_DAY

# Curves of one batch.
_TOGETHER = 1024


def moments_ahead(learner: Learner, at_s: float, days: int) -> list[float]:
    """The moments of the days ahead in seconds, all at the time of day of the first, at_s."""
    return [learner.days_later(at_s, day) for day in range(days)]


def due_days(
    engine: Engine,
    cards: Ints,
    latest_s: Floats,
    retention: Floats,
    moments_s: Sequence[float],
    from_day: int = 0,
) -> Ints:
    """The first day on which recall, half a day after the day's moment, is at or below the desired retention.

    Args:
        engine: The engine, which has read the cards' reviews.
        cards: The engine's card numbers int64 [n].
        latest_s: The time of each card's latest review in seconds, float64 [n].
        retention: k desired retentions of each card, float64 [k, n].
        moments_s: The moments of the days in seconds.
        from_day: The first day to consider.

    Returns:
        Indices of days int64 [k, n]; len(moments_s) if a card is due on none of them.
    """
    due = np.full(retention.shape, len(moments_s))
    for start in range(0, len(cards), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        curves = np.concatenate([engine.curve(card).outputs for card in cards[part].tolist()])
        due[:, part] = _due_by_curves(curves, latest_s[part], retention[:, part], moments_s, from_day)
    return due


def _due_by_curves(
    curves: Float32s, latest_s: Floats, retention: Floats, moments_s: Sequence[float], from_day: int
) -> Ints:
    later = len(moments_s)
    due, is_open = np.full(retention.shape, later), np.arange(len(latest_s))
    for day in range(from_day, later):
        if len(is_open) == 0:
            break
        elapsed_s = moments_s[day] + SECONDS_PER_DAY / 2 - latest_s[is_open]
        p = recall(curves[is_open], np.maximum(0, elapsed_s))
        before = due[:, is_open]
        due[:, is_open] = np.where((before == later) & (p <= retention[:, is_open]), day, before)
        is_open = is_open[(due[:, is_open] == later).any(0)]
    return due
