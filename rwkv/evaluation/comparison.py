"""Several predictions of the same reviews side by side (spec 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Int32s, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, order_by_card
from rwkv.data.keys import BenchmarkKeys, candidate_reviews
from rwkv.evaluation.baselines import average_predictions, fsrs_predictions, moving_average_predictions
from rwkv.evaluation.bootstrap import standard_errors
from rwkv.evaluation.fsrs_training import learnt_parameters, trained_fsrs_predictions
from rwkv.evaluation.scores import Score, score
from rwkv.evaluation.summary import CONFIDENCE, Estimate, means


@dataclass(frozen=True)
class Comparison:
    """Predictions p[name] [n] of the same n reviews of one user, by algorithm. All arrays [n], in review_th order.

    y: 1 recalled, 0 forgotten. bins: those of RMSE(bins).
    """

    user: int
    review_th: Int32s
    p: Mapping[str, AnyFloats]
    y: npt.NDArray[np.int8]
    bins: Int32s

    def __len__(self) -> int:
        return len(self.y)

    def scores(self) -> dict[str, Score]:
        """By algorithm."""
        return {name: score(p, self.y, self.bins) for name, p in self.p.items()}

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """By algorithm and metric, with intervals from a bootstrap over the reviews that the user's number seeds."""
        errors = standard_errors(list(self.p.values()), self.y, self.bins, seed=self.user)
        z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
        return {
            name: {
                metric: Estimate(value, None if (error := of[metric]) is None else z * error)
                for metric, value in found.metrics.items()
            }
            for (name, found), of in zip(self.scores().items(), errors, strict=True)
        }


def baseline_predictions(table: RevlogTable, keys: BenchmarkKeys, short: bool, secs: bool) -> dict[str, AnyFloats]:
    """AVG, MOVING-AVG and FSRS-6-default at the user's keys, [keys] each; NaN where FSRS-6 has no earlier review.

    short, secs: what the keys were found with.
    """
    came = table.rating[_candidate_rows(table, short, secs)] > 1
    return {
        "AVG": average_predictions(came),
        "MOVING-AVG": moving_average_predictions(came),
        "FSRS-6-default": fsrs_predictions(table.card, table.rating, days_since_first(table))[
            _rows_of(table, keys.review_ths)
        ],
    }


def trained_predictions(table: RevlogTable) -> dict[str, AnyFloats]:
    """FSRS-6 optimised on the user's own reviews, at the keys without SHORT and SECS, [keys].

    It knows whole days only, so it has no other keys.
    """
    candidates = _candidate_rows(table, short=False, secs=False)
    return {"FSRS-6": trained_fsrs_predictions(table.card, table.rating, days_since_first(table), candidates)}


def fsrs_parameters(table: RevlogTable) -> list[float]:
    """FSRS-6's parameters, learnt from all of the user's reviews that it can learn from."""
    candidates = _candidate_rows(table, short=False, secs=False)
    return learnt_parameters(table.card, table.rating, days_since_first(table), candidates)


def weighted_metrics(users: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """By name of the prediction: each metric's mean over the users, weighted by their reviews.

    A user without an AUC, for want of one of the classes, does not count in it. Raises ValueError for no users.
    """
    scores: dict[str, dict[int, Score]] = {}
    for number, of in enumerate(users):
        for name, found in of.scores().items():
            scores.setdefault(name, {})[number] = found
    weighted = means(scores, range(len(users))).weighted
    return {
        name: {metric: np.nan if of.value is None else of.value for metric, of in metrics.items()}
        for name, metrics in weighted.items()
    }


def _candidate_rows(table: RevlogTable, short: bool, secs: bool) -> Ints:
    return _rows_of(table, candidate_reviews(table, short, secs).review_ths)


def _rows_of(table: RevlogTable, review_ths: Int32s) -> Ints:
    """Where in the table these reviews stand."""
    return np.searchsorted(table.review_th, review_ths).astype(np.int64)


def days_since_first(table: RevlogTable) -> Ints:
    """Days since each card's first review, as the sum of its intervals: what FSRS is told [R]."""
    cards = order_by_card(table.card)
    elapsed = np.where(cards.previous < 0, 0, np.maximum(0, table.elapsed_days)).astype(np.int64)
    days = np.empty_like(elapsed)
    days[cards.order] = cumsum_by_group(elapsed[cards.order], cards.is_start)
    return days
