"""Standard errors of one user's metrics by bootstrap over the reviews."""

import math

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.metrics import METRICS, PredictedAnswers

# 400 resamples give standard errors within 4 %. Users with many reviews get down to 100, within 7 %, to save time.
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 400, 100
_REVIEWS_DRAWN = 10_000_000


def standard_errors(
    predictions: list[npt.ArrayLike], y: npt.ArrayLike, bins: npt.ArrayLike, seed: int
) -> list[dict[str, float | None]]:
    """Estimate the standard errors of each prediction's metrics from resamples of the user's reviews.

    All predictions share the same resamples. Reviews count as independent of one another.

    Args:
        predictions: Probabilities of recall [n], one array for each way of predicting.
        y: Outcomes [n], as for `recall_metrics`.
        bins: RMSE bins [n], as for `recall_metrics`.
        seed: Seed of the resamples.

    Returns:
        The standard errors by metric, one dictionary for each prediction; None for an AUC with only one class.
    """
    y = np.asarray(y, np.int64)
    answers = [PredictedAnswers(p, y, bins) for p in predictions]
    rng = np.random.default_rng(seed)
    resamples = min(max(_REVIEWS_DRAWN // len(y), _FEWEST_RESAMPLES), _MOST_RESAMPLES)
    values = np.empty((resamples, len(answers), len(METRICS)))
    for draw in range(resamples):
        counts = np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)).astype(np.float64)
        values[draw] = [answer.metrics(counts) for answer in answers]
    # A resample of one class has no AUC. If the reviews have only one class, no resample has an AUC.
    undefined = np.asarray(np.isnan(values).all(axis=0))
    errors = np.where(undefined, np.nan, np.nanstd(np.where(undefined, 0, values), axis=0))
    return [
        {metric: None if math.isnan(error) else error for metric, error in zip(METRICS, row, strict=True)}
        for row in errors.tolist()
    ]
