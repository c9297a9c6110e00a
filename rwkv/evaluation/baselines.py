"""What predictions are compared with: two averages, and FSRS-6 with given parameters."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from fsrs.scheduler import DEFAULT_PARAMETERS, STABILITY_MIN

from rwkv.arrays import Float32s, Floats, Ints
from rwkv.data.keys import folds_of
from rwkv.data.simulate.fsrs5 import first_state, next_difficulty, recall_after, stability_on_later_day
from rwkv.evaluation.realism.histories import layers

# MOVING-AVG: where the logit of recall begins, and how far a review moves it.
_FIRST_LOGIT = 1.2
_STEP = 0.3

# As long as the longest stability. Clocks that jumped give longer intervals.
_MOST_DAYS = 36_500
# The place of the curve's exponent among FSRS-6's parameters.
_POWER = 20


def average_predictions(y: npt.ArrayLike) -> Float32s:
    """AVG: predict each fold of the benchmark by the share of recalls in all candidates before it.

    y: 1 recalled, 0 forgotten, of the m candidates in time order, those before the first fold included.
    Returns float32 [5 * (m // 6)], for the reviews of the five folds. Source: the benchmark's AVG; spec 2, step 12.
    """
    y = np.asarray(y, np.int64)
    recalled = np.append(0, np.cumsum(y))
    folds = [fold for fold in folds_of(len(y)) if fold.start < len(y)]
    parts = [np.full(fold.stop - fold.start, recalled[fold.start] / fold.start, np.float32) for fold in folds]
    return np.concatenate([np.empty(0, np.float32), *parts])


def moving_average_predictions(y: npt.ArrayLike) -> Float32s:
    """MOVING-AVG: predict each review by an average that follows the candidates before it, the latest most.

    y, and what is returned: as of `average_predictions`. The average's logit takes a gradient step of LogLoss after
    each candidate. Source: the benchmark's MOVING-AVG.
    """
    y = np.asarray(y, np.float64)
    p = np.empty(len(y), np.float32)
    logit = _FIRST_LOGIT
    for row, came in enumerate(y.tolist()):
        expected = 1 / (1 + math.exp(-logit))
        p[row] = expected
        logit += _STEP * (came - expected)
    return p[folds_of(len(y))[0].start :]


def fsrs_predictions(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Float32s:
    """FSRS-6: the probability of recall before each review, given the card's earlier ones.

    card: any integers. rating: 1..4. day: whole days since any date, which may differ from card to card. All [R], in
    time order. parameters: 21, those of the package `fsrs` if not given.
    Returns float32 [R]; NaN at the first review of each card. Source: the package `fsrs`, without learning steps.
    """
    ratings, days = np.asarray(rating, np.int64), np.asarray(day, np.int64)
    p = np.full(len(days), np.nan, np.float32)
    rows_by_place = layers(np.unique(card, return_inverse=True)[1].astype(np.int64))
    if not rows_by_place:
        return p
    last, *others = rows_by_place
    w = np.broadcast_to(np.array(parameters, np.float64), (len(last), len(parameters)))
    stability, difficulty = first_state(w, ratings[last])
    for rows in others:
        w, last = w[: len(rows)], last[: len(rows)]
        elapsed = np.clip(days[rows] - days[last], 0, _MOST_DAYS)
        stability, difficulty = stability[: len(rows)], difficulty[: len(rows)]
        p[rows] = recall = recall_after(elapsed, stability, parameters[_POWER])
        later = stability_on_later_day(w, stability, difficulty, ratings[rows], recall)
        within_day = _stability_within_day(w, stability, ratings[rows])
        stability = np.maximum(np.where(elapsed == 0, within_day, later), STABILITY_MIN)
        difficulty, last = next_difficulty(w, difficulty, ratings[rows]), rows
    return p


def _stability_within_day(w: Floats, stability: Floats, rating: Ints) -> Floats:
    """After an answer on the day of the one before; only Again lowers it."""
    growth = np.exp(w[:, 17] * (rating - 3 + w[:, 18])) * stability ** -w[:, 19]
    return stability * np.where(rating == 1, growth, np.maximum(growth, 1))


def recall_by_stability(stability: Sequence[float], since_days: Sequence[int], parameters: Sequence[float]) -> Floats:
    """FSRS-6: recall [c] of cards of a stability in days, whole days after their last review. Source: `fsrs`."""
    days = np.minimum(np.array(since_days, np.float64), _MOST_DAYS)
    return recall_after(days, np.maximum(np.array(stability, np.float64), STABILITY_MIN), parameters[_POWER])
