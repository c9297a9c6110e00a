"""The baselines: two averages, and FSRS-6 with given parameters."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from fsrs.scheduler import DEFAULT_PARAMETERS, STABILITY_MIN

from rwkv.arrays import Float32s, Floats, Ints
from rwkv.data.fsrs5 import first_state, next_difficulty, recall_after, stability_on_later_day
from rwkv.data.keys import folds_of
from rwkv.evaluation.realism.histories import layers

# MOVING-AVG: the first logit of recall, and the size of a gradient step.
_FIRST_LOGIT = 1.2
_STEP = 0.3

# The longest stability of FSRS. A clock that jumped gives longer intervals, which are clipped.
_MOST_DAYS = 36_500
# Index of the curve's exponent among the parameters of FSRS-6.
_POWER = 20


def average_predictions(y: npt.ArrayLike) -> Float32s:
    """Predict each fold by the share of recalls among all candidates before it (AVG).

    Args:
        y: Outcomes [m] of all candidates in time order, 1 recalled, 0 forgotten.

    Returns:
        The probability of recall, float32 [5 * (m // 6)], for the reviews of the five folds.

    Source: AVG of the benchmark; spec 2, step 12.
    """
    y = np.asarray(y, np.int64)
    recalled = np.append(0, np.cumsum(y))
    folds = [fold for fold in folds_of(len(y)) if fold.start < len(y)]
    parts = [np.full(fold.stop - fold.start, recalled[fold.start] / fold.start, np.float32) for fold in folds]
    return np.concatenate([np.empty(0, np.float32), *parts])


def moving_average_predictions(y: npt.ArrayLike) -> Float32s:
    """Predict each review by a moving average of the candidates before it (MOVING-AVG).

    After each candidate, the logit of the average takes one gradient step on its LogLoss.

    Args:
        y: Outcomes [m] of all candidates in time order, 1 recalled, 0 forgotten.

    Returns:
        The probability of recall, float32 [5 * (m // 6)], for the reviews of the five folds.

    Source: MOVING-AVG of the benchmark.
    """
    y = np.asarray(y, np.float64)
    p = np.empty(len(y), np.float32)
    logit = _FIRST_LOGIT
    for row, outcome in enumerate(y.tolist()):
        p[row] = expected = 1 / (1 + math.exp(-logit))
        logit += _STEP * (outcome - expected)
    return p[folds_of(len(y))[0].start :]


def fsrs_predictions(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Float32s:
    """Predict each review from the earlier ones of its card by FSRS-6.

    Args:
        card: Card ids, integers [R], of the reviews in time order.
        rating: Ratings 1..4, [R].
        day: Whole days [R], counted from any date, which may differ from card to card.
        parameters: The 21 parameters; by default those of the package `fsrs`.

    Returns:
        The probability of recall, float32 [R]; NaN at the first review of each card.

    Source: The package `fsrs`, without learning steps.
    """
    ratings, days = np.asarray(rating, np.int64), np.asarray(day, np.int64)
    p = np.full(len(days), np.nan, np.float32)
    card_layers = layers(np.unique(card, return_inverse=True)[1].astype(np.int64))
    if not card_layers:
        return p
    last, *others = card_layers
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
    """The stability after a second review on one day; only Again lowers it."""
    growth = np.exp(w[:, 17] * (rating - 3 + w[:, 18])) * stability ** -w[:, 19]
    return stability * np.where(rating == 1, growth, np.maximum(growth, 1))


def recall_by_stability(stability: Sequence[float], since_days: Sequence[int], parameters: Sequence[float]) -> Floats:
    """The recall of cards by FSRS-6.

    Args:
        stability: Stabilities [c] in days.
        since_days: Whole days [c] since the last review of each card.
        parameters: The 21 parameters.

    Returns:
        The probability of recall, float64 [c].

    Source: The package `fsrs`.
    """
    days = np.minimum(np.array(since_days, np.float64), _MOST_DAYS)
    return recall_after(days, np.maximum(np.array(stability, np.float64), STABILITY_MIN), parameters[_POWER])
