"""The benchmark's four metrics of predicted recall (spec 6)."""

import math

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Floats

METRICS = ("RMSE", "LogLoss", "RMSE(bins)", "AUC")

_PLACES = 6

# The benchmark clips float32 predictions at the eps of float64.
_EPS = np.finfo(np.float64).eps


def recall_metrics(p: npt.ArrayLike, y: npt.ArrayLike, bins: npt.ArrayLike) -> dict[str, float | None]:
    """Compute the metrics of one user.

    Args:
        p: Predicted probability of recall [n], n >= 1; rounded to float32.
        y: Outcomes [n]: 1 recalled, 0 forgotten.
        bins: RMSE bins [n], integers of which only equality matters.

    Returns:
        Each metric rounded to 6 decimals; AUC is None if one class is missing.

    Raises:
        ValueError: A p is outside 0..1.

    Source: Spec 6.
    """
    answers = PredictedAnswers(p, y, bins)
    values = zip(METRICS, answers.metrics(np.ones(len(answers))), strict=True)
    return {name: None if math.isnan(value) else round(value, _PLACES) for name, value in values}


def log_losses(p: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """The LogLoss of each review, float64 [n]; p and y as for `recall_metrics`."""
    p = _rounded(p)
    return -np.log(np.clip(np.where(np.asarray(y) == 1, p, 1 - p), _EPS, 1 - _EPS))


class PredictedAnswers:
    """Predictions and outcomes, sorted once, then scored with any weight of each review.

    Args:
        p: Predicted probability of recall [n], as for `recall_metrics`.
        y: Outcomes [n].
        bins: RMSE bins [n].

    Raises:
        ValueError: A p is outside 0..1.
    """

    def __init__(self, p: npt.ArrayLike, y: npt.ArrayLike, bins: npt.ArrayLike) -> None:
        p, y = _rounded(p), np.asarray(y, np.int64)
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError("a prediction is outside 0..1")
        self._y, self._residual, self._loss = y.astype(np.float64), y - p, log_losses(p, y)
        self._bin = np.unique(bins, return_inverse=True)[1]
        self._rank = np.unique(p, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self._y)

    def metrics(self, counts: Floats) -> list[float]:
        """The metrics in the order of METRICS if review i counts counts[i] times; NaN for the AUC of one class."""
        total = counts.sum()
        residual = counts * self._residual
        in_bin, size = np.bincount(self._bin, residual), np.bincount(self._bin, counts)
        return [
            math.sqrt(residual @ self._residual / total),
            float(counts @ self._loss / total),
            math.sqrt(np.sum(in_bin**2 / np.maximum(size, 1)) / total),
            self._auc(counts),
        ]

    def _auc(self, counts: Floats) -> float:
        """The share of (recalled, forgotten) pairs in which the recalled review has the higher p; a tie is half."""
        recalled, reviews = np.bincount(self._rank, counts * self._y), np.bincount(self._rank, counts)
        forgotten = reviews - recalled
        pairs = recalled.sum() * forgotten.sum()
        below = recalled @ np.cumsum(forgotten) - recalled @ forgotten / 2
        return float(below / pairs) if pairs else math.nan


def _rounded(p: npt.ArrayLike) -> Floats:
    return np.asarray(p, np.float32).astype(np.float64)
