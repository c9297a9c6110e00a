"""The simplest baselines: two averages."""

import math

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s
from rwkv.data.keys import folds_of

# MOVING-AVG: the first logit of recall, and the size of a gradient step.
_FIRST_LOGIT = 1.2
_STEP = 0.3


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
