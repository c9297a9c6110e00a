"""Forgetting curves of cards, the interval for a desired retention, and what each of the four buttons leads to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.errors import InputError
from rwkv.model.curve import correction_points, recall

_LEAST_S = 1.0
# Between neighbouring points the curve is looked at this often; a dip narrower than that may be missed.
_LOOKS_BETWEEN = 2
# Halvings of the step in which the crossing lies: far below a second.
_HALVINGS = 40

Floats = npt.NDArray[np.float64]


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
        if not 0 < retention < 1:
            raise InputError("This is no desired retention.", got=repr(retention), expected="more than 0, less than 1")
        times = _times()
        reached = self(times) <= retention
        if not reached.any():
            return None
        first = int(reached.argmax())
        if first == 0:
            return _LEAST_S
        low, high = times[first - 1], times[first]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self(middle) <= retention else (middle, high)
        return float(high)


@cache
def _times() -> Floats:
    """Times from a second to the last point, at which the curve is looked at."""
    points = correction_points(torch.device("cpu")).numpy()
    points = np.concatenate([[_LEAST_S], points[points > _LEAST_S]])
    shares = np.arange(_LOOKS_BETWEEN) / _LOOKS_BETWEEN
    between = points[:-1, None] * (points[1:] / points[:-1])[:, None] ** shares
    return np.append(between.reshape(-1), points[-1])


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
