"""Several predictions of the same reviews side by side: metrics by name, over many users (spec 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.data.history import RevlogTable
from rwkv.data.keys import BenchmarkKeys, candidate_reviews
from rwkv.evaluation.baselines import average_predictions, fsrs_predictions
from rwkv.evaluation.metrics import recall_metrics

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Comparison:
    """Predictions p[name] [n] of the same n reviews of one user, what came of them y [n], and their bins [n]."""

    p: Mapping[str, Floats]
    y: npt.NDArray[np.int8]
    bins: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.y)


def baseline_predictions(table: RevlogTable, keys: BenchmarkKeys, short: bool, secs: bool) -> dict[str, Floats]:
    """AVG and FSRS-6 with default parameters at the user's keys, [keys] each; NaN where FSRS-6 has no earlier review.

    short, secs: what the keys were found with.
    """
    row_of = {review_th: row for row, review_th in enumerate(table.review_th.tolist())}
    candidates = [row_of[review_th] for review_th in candidate_reviews(table, short, secs).review_ths.tolist()]
    at_keys = [row_of[review_th] for review_th in keys.review_ths.tolist()]
    return {
        "AVG": average_predictions(table.rating[candidates] > 1),
        "FSRS-6": fsrs_predictions(table.card, table.rating, table.day_offset)[at_keys],
    }


def weighted_metrics(users: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """By name of the prediction: each metric's mean over the users, weighted by their reviews.

    A user without an AUC, for want of one of the classes, does not count in it. Raises ValueError for no users.
    """
    if not users:
        raise ValueError("there is nobody to compare")
    return {name: _weighted([(of.p[name], of.y, of.bins) for of in users]) for name in users[0].p}


def _weighted(users: list[tuple[Floats, npt.NDArray[np.int8], npt.NDArray[np.int32]]]) -> dict[str, float]:
    metrics = [recall_metrics(*of) for of in users]
    sizes = np.array([len(y) for _, y, _ in users], np.float64)
    means = {}
    for name in metrics[0]:
        values = np.array([np.nan if of[name] is None else of[name] for of in metrics], np.float64)
        known = ~np.isnan(values)
        means[name] = float(np.average(values[known], weights=sizes[known])) if known.any() else float("nan")
    return means
