"""On which of the days ahead cards are due, by their forgetting curves."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Floats, Ints
from rwkv.collection.learner import Learner
from rwkv.model.curve import recall
from rwkv.recurrent.engine import Engine
from rwkv.vocab import SECONDS_PER_DAY

# Curves that are looked at together.
_TOGETHER = 1024


def moments_ahead(learner: Learner, at_s: float, days: int) -> list[float]:
    """The moment of each of the days ahead, at the time of day of the first, which is at_s."""
    return [learner.days_later(at_s, day) for day in range(days)]


def due_days(
    engine: Engine,
    cards: Ints,
    latest_s: Floats,
    retention: Floats,
    moments_s: Sequence[float],
    from_day: int = 0,
) -> Ints:
    """The first day [k, n], from `from_day` on, whose end, half a day after its moment, finds recall at the retention.

    As many as there are days where none does. cards, latest_s [n]: the engine's numbers, and when each had its latest
    review. retention [k, n]: several desired of each, which share the work.
    """
    due = np.full(retention.shape, len(moments_s))
    for start in range(0, len(cards), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        curves = torch.cat([engine.curve(card).outputs for card in cards[part].tolist()])
        due[:, part] = _due_by_curves(curves, latest_s[part], retention[:, part], moments_s, from_day)
    return due


def _due_by_curves(
    curves: Tensor, latest_s: Floats, retention: Floats, moments_s: Sequence[float], from_day: int
) -> Ints:
    later = len(moments_s)
    due, is_open = np.full(retention.shape, later), np.arange(len(latest_s))
    for day in range(from_day, later):
        if len(is_open) == 0:
            break
        elapsed_s = moments_s[day] + SECONDS_PER_DAY / 2 - latest_s[is_open]
        p = recall(curves[is_open], torch.from_numpy(np.maximum(0, elapsed_s))).numpy()
        before = due[:, is_open]
        due[:, is_open] = np.where((before == later) & (p <= retention[:, is_open]), day, before)
        is_open = is_open[(due[:, is_open] == later).any(0)]
    return due
