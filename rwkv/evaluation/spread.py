"""How far one user's metrics would be off with other reviews of the same kind: standard errors by bootstrap."""

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.metrics import METRICS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Enough for standard errors within 4 %; of users with so many reviews that it would take long, within 7 %.
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 400, 100
_REVIEWS_DRAWN = 10_000_000

_EPS = np.finfo(np.float64).eps


def standard_errors(
    predictions: list[npt.ArrayLike], y: npt.ArrayLike, bins: npt.ArrayLike, seed: int
) -> list[dict[str, float | None]]:
    """The standard errors of each prediction's metrics, by name, over resamples of the user's reviews.

    predictions: p [n] each. y, bins [n]: as of `recall_metrics`. All predictions meet the same resamples, which `seed`
    decides. None for an AUC where one class is missing. Reviews count as independent of one another.
    """
    y = np.asarray(y, np.int64)
    metrics = [_Metrics(p, y, bins) for p in predictions]
    rng = np.random.default_rng(seed)
    resamples = min(max(_REVIEWS_DRAWN // len(y), _FEWEST_RESAMPLES), _MOST_RESAMPLES)
    values = np.empty((resamples, len(metrics), len(METRICS)))
    for draw in range(resamples):
        counts = np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y))
        values[draw] = [of.at(counts) for of in metrics]
    # A resample may lack one of the classes, and with it the AUC; where the reviews do, all resamples lack it.
    lacking = np.asarray(np.isnan(values).all(axis=0))
    spread = np.nanstd(np.where(lacking, 0, values), axis=0)
    return [
        {name: None if is_lacking else error for name, error, is_lacking in zip(METRICS, of, lacks, strict=True)}
        for of, lacks in zip(spread.tolist(), lacking.tolist(), strict=True)
    ]


class _Metrics:
    """The metrics of predictions when review i counts counts[i] times; NaN for an AUC without both classes."""

    def __init__(self, p: npt.ArrayLike, y: Ints, bins: npt.ArrayLike) -> None:
        p = np.asarray(p, np.float32).astype(np.float64)
        self._y, self._residual = y, y - p
        self._loss = -np.log(np.clip(np.where(y == 1, p, 1 - p), _EPS, 1))
        self._bin = np.unique(bins, return_inverse=True)[1]
        self._rank = np.unique(p, return_inverse=True)[1]

    def at(self, counts: Ints) -> list[float]:
        """In the order of METRICS."""
        total = counts.sum()
        residual = counts * self._residual
        in_bin, size = np.bincount(self._bin, residual), np.bincount(self._bin, counts)
        return [
            np.sqrt(residual @ self._residual / total),
            counts @ self._loss / total,
            np.sqrt(np.sum(in_bin**2 / np.maximum(size, 1)) / total),
            self._auc(counts),
        ]

    def _auc(self, counts: Ints) -> float:
        """The share of pairs, one recalled and one forgotten, in which the recalled has the higher p; ties half."""
        recalled, reviews = np.bincount(self._rank, counts * self._y), np.bincount(self._rank, counts)
        forgotten = reviews - recalled
        pairs = recalled.sum() * forgotten.sum()
        below = np.cumsum(forgotten) - forgotten / 2
        return float(recalled @ below / pairs) if pairs else np.nan
