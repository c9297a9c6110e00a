"""Several algorithms over several users: means, how sure they are, and who beats whom (spec 6)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rwkv.arrays import Floats
from rwkv.evaluation.metrics import METRICS
from rwkv.evaluation.scores import Score

User = TypeVar("User", bound=Hashable)

# What the benchmark gives for its means, and at which level it calls two algorithms different.
CONFIDENCE = 0.99
SIGNIFICANT = 1 - CONFIDENCE

# Of fewer users nothing is said about users in general. With fewer who differ, the smallest p of a two-sided
# signed-rank test, 2 / 2**n, is not below that level either.
FEWEST_USERS = 8

COLUMNS = ("LogLoss", "RMSE(bins)", "AUC")


@dataclass(frozen=True)
class Estimate:
    """A value and the half width of its confidence interval; None where there is none."""

    value: float | None
    half_width: float | None = None


@dataclass(frozen=True)
class Means:
    """Means by algorithm and metric. weighted: by the users' reviews; unweighted: every user counts the same."""

    weighted: dict[str, dict[str, Estimate]]
    unweighted: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class SignedRank:
    """A Wilcoxon signed-rank test of two algorithms' LogLoss over n users who differ.

    p: of equal LogLoss, two-sided. effect: r = z / sqrt(n), above 0 where the first is better. Both None where
    n < FEWEST_USERS, too small a number to tell.
    """

    n: int
    p: float | None
    effect: float | None


def common_users(scores: Mapping[str, Mapping[User, Score]]) -> list[User]:
    """The users of whom there is a score by every algorithm, in the order of the first."""
    first, *rest = scores.values()
    return [user for user in first if all(user in of for of in rest)]


def means(scores: Mapping[str, Mapping[User, Score]], users: Sequence[User]) -> Means:
    """Means over these users, of whom every algorithm has a score. Raises ValueError for no users.

    A user without an AUC, for want of one of the classes, does not count in it.
    """
    if not users:
        raise ValueError("there is nobody to compare")
    weighted, unweighted = {}, {}
    for name, of in scores.items():
        sizes = np.array([of[user].size for user in users], np.float64)
        columns = {metric: _column(of, users, metric) for metric in METRICS}
        weighted[name] = {metric: mean_of(values, sizes) for metric, values in columns.items()}
        unweighted[name] = {metric: mean_of(values, np.ones_like(sizes)) for metric, values in columns.items()}
    return Means(weighted, unweighted)


def mean_of(values: Floats, weights: Floats) -> Estimate:
    """The weighted mean of values [n] over those that are not NaN, and half the width of its interval.

    The interval is Student's, from the standard error of a weighted mean; of less than FEWEST_USERS there is none.
    Source: Cochran, Sampling Techniques, 6.4, for a ratio of two means.
    """
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    n = len(values)
    if n == 0:
        return Estimate(None)
    mean = float(np.average(values, weights=weights))
    if n < FEWEST_USERS:
        return Estimate(mean)
    from scipy.special import stdtrit  # SciPy is slow to load, and most means are of one person or few

    variance = n / (n - 1) * np.sum((weights * (values - mean)) ** 2) / np.sum(weights) ** 2
    return Estimate(mean, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(variance)))


def superiority(scores: Mapping[str, Mapping[User, Score]]) -> dict[str, dict[str, float | None]]:
    """[a][b]: the share of users for whom a has a lower LogLoss than b, of those who have both; a tie is half a user.

    None where nobody has both. Source: the benchmark's matrix of superiority.
    """
    return {a: {b: _share_below(*_log_losses(scores, a, b)) for b in scores if b != a} for a in scores}


def signed_ranks(scores: Mapping[str, Mapping[User, Score]]) -> dict[str, dict[str, SignedRank]]:
    """[a][b]: whether a and b differ over the users who have both."""
    return {a: {b: _signed_rank(*_log_losses(scores, a, b)) for b in scores if b != a} for a in scores}


def _column(of: Mapping[User, Score], users: Sequence[User], metric: str) -> Floats:
    """A metric of each user; NaN where it has none."""
    values = [of[user].metrics[metric] for user in users]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _log_losses(scores: Mapping[str, Mapping[User, Score]], a: str, b: str) -> tuple[Floats, Floats]:
    """The LogLoss of two algorithms, of the users who have both."""
    users = common_users({a: scores[a], b: scores[b]})
    of_a, of_b = (_column(scores[name], users, "LogLoss") for name in (a, b))
    known = ~np.isnan(of_a + of_b)
    return of_a[known], of_b[known]


def _share_below(a: Floats, b: Floats) -> float | None:
    return float(np.mean((a < b) + (a == b) / 2)) if len(a) else None


def _signed_rank(a: Floats, b: Floats) -> SignedRank:
    from scipy.stats import rankdata, wilcoxon  # takes a second to load

    gain = (b - a)[a != b]
    n = len(gain)
    if n < FEWEST_USERS:
        return SignedRank(n, None, None)
    ranks = rankdata(np.abs(gain))
    z = np.sum(ranks * np.sign(gain)) / np.sqrt(np.sum(ranks**2))
    return SignedRank(n, float(wilcoxon(gain).pvalue), float(z / np.sqrt(n)))


def format_metrics(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """rows: by way of predicting, its metrics by name; None and NaN where one is not defined."""
    width = max(10, *(len(name) + 1 for name in rows))
    lines = [" " * width + "".join(f"{column:>12}" for column in COLUMNS)]
    for name, metrics in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_number(metrics[column]):>12}" for column in COLUMNS))
    return "\n".join(lines)


def format_means(scores: Mapping[str, Mapping[int, Score]], users: Sequence[int]) -> str:
    """The means over these users, at least one, weighted by reviews, and how many they are.

    scores: by way of predicting, those of every user.
    """
    weighted = means(scores, users).weighted
    table = format_metrics({name: {metric: of.value for metric, of in row.items()} for name, row in weighted.items()})
    reviews = sum(next(iter(scores.values()))[user].size for user in users)
    return f"{table}\n{len(users)} users, {reviews} reviews, means weighted by reviews"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
