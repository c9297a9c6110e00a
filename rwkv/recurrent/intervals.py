"""Forgetting curves, the intervals until they fall to a desired retention, and the outcome of each button."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s, Floats
from rwkv.errors import InputError
from rwkv.model.recall import correction_points, recall, recall_at

# The shortest interval in seconds.
LEAST_S = 1.0
# Samples of the curve from one correction point to the next; a narrower dip may be missed.
_SAMPLES_PER_POINT = 2
# Bisections of the step in which the crossing lies, to far below a second.
_BISECTIONS = 40
_CURVES_PER_PASS = 1024


def intervals(outputs: Float32s, retention: npt.ArrayLike, least_s: float = LEAST_S) -> Floats:
    """The time until recall first falls to the desired retention.

    Args:
        outputs: Joined outputs of the heads for review rows, float32 [n, outputs].
        retention: Desired retention of all rows or of each, [n]; between 0 and 1.
        least_s: Shortest interval in seconds.

    Returns:
        Seconds, float64 [n]: `least_s` if recall is as low by then, NaN if it stays higher for 41.8 years.

    Raises:
        InputError: A retention is not between 0 and 1, or `least_s` is not between 1 second and 41.8 years.
    """
    target = np.broadcast_to(checked_retention(retention), len(outputs))
    times = _times(least_s)
    starts = range(0, len(outputs), _CURVES_PER_PASS)
    parts = [_crossings(outputs[i : i + _CURVES_PER_PASS], target[i : i + _CURVES_PER_PASS], times) for i in starts]
    return np.concatenate([np.empty(0), *parts])


def checked_retention(retention: npt.ArrayLike, where: str = "retention") -> Floats:
    """Check one or many desired retentions. where: the argument, for errors.

    Raises:
        InputError: One is not between 0 and 1.
    """
    values = np.asarray(retention, np.float64)
    outside = ~((values > 0) & (values < 1))
    if outside.any():
        value = float(values[outside][0])
        what, expected = "The desired retention is out of range.", "more than 0, less than 1"
        hint = f"write {value:.12g}% as {value / 100:.12g}" if 1 < value < 100 else "choose a value such as 0.9"
        raise InputError(what, where=where, got=repr(value), expected=expected, hint=hint)
    return values


def _crossings(outputs: Float32s, retention: Floats, times: Floats) -> Floats:
    reached = recall_at(outputs, times) <= retention[:, None]
    first = reached.argmax(1)
    seconds = np.where(reached.any(1), times[first], np.nan)
    (between,) = np.nonzero(reached.any(1) & (first > 0))
    curves, low, high = outputs[between], times[first[between] - 1], times[first[between]]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_past = recall(curves, middle) <= retention[between]
        low, high = np.where(is_past, low, middle), np.where(is_past, middle, high)
    seconds[between] = high
    return seconds


@cache
def _times(least_s: float) -> Floats:
    """The times at which a curve is sampled, from `least_s` to the last correction point."""
    points = correction_points()
    if not LEAST_S <= least_s < points[-1]:
        expected = f"1 to {points[-1]:.0f} seconds"
        what, got, hint = "The shortest interval is out of range.", f"{least_s} seconds", "choose one in this range"
        raise InputError(what, where="least_s", got=got, expected=expected, hint=hint)
    points = np.concatenate([[least_s], points[points > least_s]])
    shares = np.arange(_SAMPLES_PER_POINT) / _SAMPLES_PER_POINT
    between = points[:-1, None] * (points[1:] / points[:-1])[:, None] ** shares
    return np.append(between.reshape(-1), points[-1])


@dataclass(frozen=True)
class Curve:
    """The recall of a card after a review, if nothing else is reviewed.

    Attributes:
        outputs: Joined outputs of the heads for the review row, float32 [1, outputs].
    """

    outputs: Float32s

    def __call__(self, elapsed_s: npt.ArrayLike) -> Floats:
        """The probability of recall some seconds after the review.

        Args:
            elapsed_s: Seconds, of any shape. Less than one second counts as one; beyond 41.8 years the last correction
                holds.

        Returns:
            Probabilities, float64, in the shape of elapsed_s.

        Raises:
            InputError: A time is NaN.
        """
        seconds = np.asarray(elapsed_s, np.float64)
        if np.isnan(seconds).any():
            hint = "omit cards without a review"
            raise InputError("A time is not a number.", where="elapsed_s", got="NaN", expected="seconds", hint=hint)
        outputs = np.broadcast_to(self.outputs, (seconds.size, self.outputs.shape[1]))
        return recall(outputs, seconds.reshape(-1)).astype(np.float64).reshape(seconds.shape)

    def interval(self, retention: float) -> float | None:
        """Seconds until recall first falls to `retention`, at least 1.0; None if it stays higher for 41.8 years.

        Raises:
            InputError: The retention is not between 0 and 1.
        """
        (seconds,) = intervals(self.outputs, retention)
        return None if np.isnan(seconds) else float(seconds)


@dataclass(frozen=True)
class Button:
    """The outcome of an answer.

    Attributes:
        rating: The rating 1..4.
        curve: Forgetting curve of the card after the answer.
        interval_s: Seconds until recall falls to the desired retention; None beyond the curve's horizon.
        states: Flat state [1, state] after the answer of the review's entity in each stream.
    """

    rating: int
    curve: Curve
    interval_s: float | None
    states: dict[str, Float32s]


def in_order(intervals: Sequence[float | None]) -> list[float | None]:
    """Raise intervals so that none is shorter than an earlier one; None counts as infinite."""
    longest = np.maximum.accumulate([math.inf if interval is None else interval for interval in intervals])
    return [None if math.isinf(interval) else float(interval) for interval in longest]
