"""Forgetting curves of cards, when one first falls to a desired retention, and what each button leads to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.arrays import Floats
from rwkv.errors import InputError
from rwkv.model.curve import correction_points, recall, recall_at

LEAST_S = 1.0
# Between neighbouring points the curve is looked at this often; a dip narrower than that may be missed.
_LOOKS_BETWEEN = 2
# Halvings of the step in which the crossing lies: far below a second.
_HALVINGS = 40
# Curves that are looked at together.
_TOGETHER = 1024


def intervals(outputs: Tensor, retention: npt.ArrayLike, least_s: float = LEAST_S) -> Floats:
    """Seconds [N] until recall first falls to `retention`, from `least_s` on; NaN beyond 41.8 years.

    `least_s` where it is there already. outputs: [N, 260], of review rows. retention: for all, or [N]. Raises
    InputError where it is not between 0 and 1, or `least_s` not between a second and 41.8 years.
    """
    wanted = np.broadcast_to(checked_retention(retention), len(outputs))
    times = _times(least_s)
    starts = range(0, len(outputs), _TOGETHER)
    parts = [_crossings(outputs[i : i + _TOGETHER], wanted[i : i + _TOGETHER], times) for i in starts]
    return np.concatenate([np.empty(0), *parts])


def checked_retention(retention: npt.ArrayLike) -> Floats:
    """One or many desired retentions. Raises InputError where one is not between 0 and 1."""
    wanted = np.asarray(retention, np.float64)
    outside = ~((wanted > 0) & (wanted < 1))
    if outside.any():
        got = repr(float(wanted[outside][0]))
        what, expected = "This is no desired retention.", "more than 0, less than 1"
        raise InputError(what, got=got, expected=expected, hint="give a share such as 0.9 for 90%")
    return wanted


def _crossings(outputs: Tensor, retention: Floats, times: Floats) -> Floats:
    reached = recall_at(outputs, torch.from_numpy(times)).numpy() <= retention[:, None]
    first = reached.argmax(1)
    found = np.where(reached.any(1), times[first], np.nan)
    (between,) = np.nonzero(reached.any(1) & (first > 0))
    curves, low, high = outputs[between], times[first[between] - 1], times[first[between]]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_past = recall(curves, torch.from_numpy(middle)).numpy() <= retention[between]
        low, high = np.where(is_past, low, middle), np.where(is_past, middle, high)
    found[between] = high
    return found


@cache
def _times(least_s: float) -> Floats:
    """Times from `least_s` to the last point, at which the curve is looked at."""
    points = correction_points(torch.device("cpu")).numpy()
    if not LEAST_S <= least_s < points[-1]:
        raise InputError("This is no shortest interval.", got=f"{least_s} seconds", expected=f"1 to {points[-1]:.0f}")
    points = np.concatenate([[least_s], points[points > least_s]])
    shares = np.arange(_LOOKS_BETWEEN) / _LOOKS_BETWEEN
    between = points[:-1, None] * (points[1:] / points[:-1])[:, None] ** shares
    return np.append(between.reshape(-1), points[-1])


@dataclass(frozen=True)
class Curve:
    """How recall of a card falls after a review, if nothing else is reviewed. outputs: [1, 260], of the review row."""

    outputs: Tensor

    def __call__(self, elapsed_s: npt.ArrayLike) -> Floats:
        """Probability of recall at seconds after the review, in the shape of elapsed_s.

        Times below one second count as one; beyond 41.8 years the last correction holds. Raises InputError for NaN.
        """
        seconds = np.asarray(elapsed_s, np.float64)
        if np.isnan(seconds).any():
            raise InputError("A time is not a number.", where="elapsed_s", got="NaN", expected="seconds")
        flat = torch.from_numpy(seconds.reshape(-1).copy())
        return recall(self.outputs.expand(len(flat), -1), flat).numpy().astype(np.float64).reshape(seconds.shape)

    def interval(self, retention: float) -> float | None:
        """Seconds until recall first falls to `retention`: 1.0 where it is there already; None beyond 41.8 years.

        Raises InputError where retention is not between 0 and 1.
        """
        (found,) = intervals(self.outputs, retention)
        return None if np.isnan(found) else float(found)


@dataclass(frozen=True)
class Button:
    """What an answer would lead to. curve: of the card after it. interval_s: None beyond the curve's horizon.

    states: by stream the state [1, S] of the card and of what it belongs to, as it would be afterwards.
    """

    rating: int
    curve: Curve
    interval_s: float | None
    states: dict[str, Tensor]


def in_order(intervals: Sequence[float | None]) -> list[float | None]:
    """Intervals none of which is shorter than one before it; None is longer than any."""
    longest = np.maximum.accumulate([math.inf if interval is None else interval for interval in intervals])
    return [None if math.isinf(interval) else float(interval) for interval in longest]
