"""Forgetting curves of cards, the interval for a desired retention, and what each of the four buttons leads to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.errors import InputError
from rwkv.model.curve import recall
from rwkv.recurrent.intervals import intervals

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
