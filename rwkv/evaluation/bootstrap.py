"""How far one user's metrics would be off with other reviews of the same kind: standard errors by bootstrap."""

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.metrics import METRICS, PredictedAnswers

# Enough for standard errors within 4 %; of users with so many reviews that it would take long, within 7 %.
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 400, 100
_REVIEWS_DRAWN = 10_000_000


def standard_errors(
    predictions: list[npt.ArrayLike], y: npt.ArrayLike, bins: npt.ArrayLike, seed: int
) -> list[dict[str, float | None]]:
    """The standard errors of each prediction's metrics, by name, over resamples of the user's reviews.

    predictions: p [n] each. y, bins [n]: as of `recall_metrics`. All predictions meet the same resamples, which `seed`
    decides. None for an AUC where one class is missing. Reviews count as independent of one another.
    """
    y = np.asarray(y, np.int64)
    answers = [PredictedAnswers(p, y, bins) for p in predictions]
    rng = np.random.default_rng(seed)
    resamples = min(max(_REVIEWS_DRAWN // len(y), _FEWEST_RESAMPLES), _MOST_RESAMPLES)
    values = np.empty((resamples, len(answers), len(METRICS)))
    for draw in range(resamples):
        counts = np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)).astype(np.float64)
        values[draw] = [of.metrics(counts) for of in answers]
    # A resample may lack one of the classes, and with it the AUC; where the reviews do, all resamples lack it.
    lacking = np.asarray(np.isnan(values).all(axis=0))
    spread = np.nanstd(np.where(lacking, 0, values), axis=0)
    return [
        {name: None if is_lacking else error for name, error, is_lacking in zip(METRICS, of, lacks, strict=True)}
        for of, lacks in zip(spread.tolist(), lacking.tolist(), strict=True)
    ]
