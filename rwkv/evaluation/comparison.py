"""Several predictions of the same reviews side by side (spec 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Int32s, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, order_by_card
from rwkv.data.keys import BenchmarkKeys, candidate_reviews
from rwkv.evaluation.baselines import average_predictions, moving_average_predictions
from rwkv.evaluation.bootstrap import standard_errors
from rwkv.evaluation.fsrs6 import fsrs_predictions
from rwkv.evaluation.fsrs_training import learnt_parameters, trained_fsrs_predictions
from rwkv.evaluation.scores import Score, score
from rwkv.evaluation.summary import CONFIDENCE, Estimate, means

# The two predictions of this project: by the forgetting curve, and from everything just before the answer.
AHEAD, IMM = "RWKV", "RWKV-P"


@dataclass(frozen=True)
class Comparison:
    """Several algorithms' predictions of the same n reviews of one user, in review_th order.

    Attributes:
        user: Number of the user.
        review_th: Numbers of the reviews, int32 [n].
        p: Probability of recall [n] by algorithm.
        y: Outcomes, int8 [n]: 1 recalled, 0 forgotten.
        bins: Bins of RMSE(bins), int32 [n].
    """

    user: int
    review_th: Int32s
    p: Mapping[str, AnyFloats]
    y: npt.NDArray[np.int8]
    bins: Int32s

    def __len__(self) -> int:
        return len(self.y)

    def scores(self) -> dict[str, Score]:
        """The score of each algorithm."""
        return {name: score(p, self.y, self.bins) for name, p in self.p.items()}

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Each algorithm's metrics with confidence intervals from a bootstrap, seeded by the user's number."""
        errors = standard_errors(list(self.p.values()), self.y, self.bins, seed=self.user)
        z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
        estimates: dict[str, dict[str, Estimate]] = {}
        for (name, user_score), error in zip(self.scores().items(), errors, strict=True):
            half_widths = {metric: None if value is None else z * value for metric, value in error.items()}
            estimates[name] = {
                metric: Estimate(value, half_widths[metric]) for metric, value in user_score.metrics.items()
            }
        return estimates


def baseline_predictions(table: RevlogTable, keys: BenchmarkKeys, short: bool, secs: bool) -> dict[str, AnyFloats]:
    """Predict the user's keys by AVG, MOVING-AVG and FSRS-6 with default parameters.

    Args:
        table: The user's history.
        keys: The reviews to predict.
        short: SHORT of the run that found the keys.
        secs: SECS of that run.

    Returns:
        The probability of recall [keys] by algorithm; NaN where FSRS-6 has no earlier review of the card.
    """
    recalled = table.rating[_candidate_rows(table, short, secs)] > 1
    fsrs = fsrs_predictions(table.card, table.rating, days_since_first(table))
    return {
        "AVG": average_predictions(recalled),
        "MOVING-AVG": moving_average_predictions(recalled),
        "FSRS-6-default": fsrs[_rows_of(table, keys.review_ths)],
    }


def trained_predictions(table: RevlogTable) -> dict[str, AnyFloats]:
    """Predict the user's keys by FSRS-6 optimised on the user's own reviews, [keys] by algorithm.

    The keys are those without SHORT and SECS, since FSRS-6 knows only whole days.
    """
    candidates = _candidate_rows(table, short=False, secs=False)
    return {"FSRS-6": trained_fsrs_predictions(table.card, table.rating, days_since_first(table), candidates)}


def fsrs_parameters(table: RevlogTable) -> list[float]:
    """The parameters of FSRS-6 optimised on all candidate reviews of the user."""
    candidates = _candidate_rows(table, short=False, secs=False)
    return learnt_parameters(table.card, table.rating, days_since_first(table), candidates)


def weighted_metrics(users: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """The mean of each metric over the users, weighted by their reviews, by algorithm and metric.

    A user with only one class has no AUC and is left out of its mean.

    Raises:
        ValueError: There are no users.
    """
    scores: dict[str, dict[int, Score]] = {}
    for number, comparison in enumerate(users):
        for name, user_score in comparison.scores().items():
            scores.setdefault(name, {})[number] = user_score
    weighted = means(scores, range(len(users))).weighted
    return {
        name: {metric: np.nan if mean.value is None else mean.value for metric, mean in metrics.items()}
        for name, metrics in weighted.items()
    }


def _candidate_rows(table: RevlogTable, short: bool, secs: bool) -> Ints:
    return _rows_of(table, candidate_reviews(table, short, secs).review_ths)


def _rows_of(table: RevlogTable, review_ths: Int32s) -> Ints:
    """The rows of these reviews in the table."""
    return np.searchsorted(table.review_th, review_ths).astype(np.int64)


def days_since_first(table: RevlogTable) -> Ints:
    """Days [R] from the first review of the card to each review, the sum of its intervals: the clock of FSRS."""
    cards = order_by_card(table.card)
    elapsed = np.where(cards.previous < 0, 0, np.maximum(0, table.elapsed_days)).astype(np.int64)
    days = np.empty_like(elapsed)
    days[cards.order] = cumsum_by_group(elapsed[cards.order], cards.is_start)
    return days
