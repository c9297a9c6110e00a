"""How good predictions of recall are: the benchmark's four numbers (spec 6)."""

import math

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Floats

METRICS = ("RMSE", "LogLoss", "RMSE(bins)", "AUC")

_PLACES = 6

# The published numbers are of float32 values clipped at float64's eps.
_EPS = np.finfo(np.float64).eps


def recall_metrics(p: npt.ArrayLike, y: npt.ArrayLike, bins: npt.ArrayLike) -> dict[str, float | None]:
    """The metrics of one user, by name, rounded to 6 places; AUC is None where one class is missing.

    p: predicted probability of recall, rounded to float32. y: 1 recalled, 0 forgotten. bins: integers of which only
    equality matters. All [n], n >= 1.
    Raises ValueError where a p is not within 0..1. Source: spec 6.
    """
    reviews = PredictedAnswers(p, y, bins)
    values = zip(METRICS, reviews.metrics(np.ones(len(reviews))), strict=True)
    return {name: None if math.isnan(value) else round(value, _PLACES) for name, value in values}


def log_losses(p: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """The term of each review in LogLoss [n]. p, y: as of `recall_metrics`."""
    p = _rounded(p)
    return -np.log(np.clip(np.where(np.asarray(y) == 1, p, 1 - p), _EPS, 1 - _EPS))


class PredictedAnswers:
    """Predictions and answers, sorted once, to be scored with reviews that count more than once or not at all.

    p, y, bins [n]: as of `recall_metrics`. Raises ValueError where a p is not within 0..1.
    """

    def __init__(self, p: npt.ArrayLike, y: npt.ArrayLike, bins: npt.ArrayLike) -> None:
        p, y = _rounded(p), np.asarray(y, np.int64)
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError("a prediction is not within 0..1")
        self._y, self._residual, self._loss = y.astype(np.float64), y - p, log_losses(p, y)
        self._bin = np.unique(bins, return_inverse=True)[1]
        self._rank = np.unique(p, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self._y)

    def metrics(self, counts: Floats) -> list[float]:
        """In the order of METRICS, when review i counts counts[i] times [n]; NaN for an AUC without both classes."""
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
        """The share of pairs, one recalled and one forgotten, in which the recalled has the higher p; ties half."""
        recalled, reviews = np.bincount(self._rank, counts * self._y), np.bincount(self._rank, counts)
        forgotten = reviews - recalled
        pairs = recalled.sum() * forgotten.sum()
        below = recalled @ np.cumsum(forgotten) - recalled @ forgotten / 2
        return float(below / pairs) if pairs else math.nan


def _rounded(p: npt.ArrayLike) -> Floats:
    return np.asarray(p, np.float32).astype(np.float64)
