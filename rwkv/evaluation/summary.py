"""Several algorithms over several users: means with confidence intervals, and pairwise tests (spec 6)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rwkv.arrays import Floats
from rwkv.evaluation.metrics import METRICS
from rwkv.evaluation.scores import Score
from rwkv.plurals import counted

User = TypeVar("User", bound=Hashable)

# The benchmark's confidence level of means, and its significance level of differences.
CONFIDENCE = 0.99
SIGNIFICANT = 1 - CONFIDENCE

# Fewer users give no interval and no test. With fewer than 8 who differ, the smallest possible p of a two-sided
# signed-rank test, 2 / 2**n, is above the significance level.
FEWEST_USERS = 8

COLUMNS = ("LogLoss", "RMSE(bins)", "AUC")


@dataclass(frozen=True)
class Estimate:
    """A value and the half width of its confidence interval; None where one is not defined."""

    value: float | None
    half_width: float | None = None


@dataclass(frozen=True)
class Means:
    """Means by algorithm and metric.

    Attributes:
        weighted: Each user counts by the number of reviews.
        unweighted: Each user counts the same.
    """

    weighted: dict[str, dict[str, Estimate]]
    unweighted: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class SignedRank:
    """A Wilcoxon signed-rank test of two algorithms' LogLoss.

    Attributes:
        n: Number of users whose two LogLosses differ.
        p: Two-sided p-value; None if n < FEWEST_USERS.
        effect: Effect size r = z / sqrt(n), positive if the first algorithm is better; None if n < FEWEST_USERS.
    """

    n: int
    p: float | None
    effect: float | None


def common_users(scores: Mapping[str, Mapping[User, Score]]) -> list[User]:
    """The users with a score by every algorithm, in the order of the first algorithm's."""
    first, *rest = scores.values()
    return [user for user in first if all(user in by_user for by_user in rest)]


def means(scores: Mapping[str, Mapping[User, Score]], users: Sequence[User]) -> Means:
    """Average the scores of users whom every algorithm has scored.

    A user with only one class has no AUC and is left out of its mean.

    Raises:
        ValueError: There are no users.
    """
    if not users:
        raise ValueError("there are no users to compare")
    weighted, unweighted = {}, {}
    for name, by_user in scores.items():
        sizes = np.array([by_user[user].size for user in users], np.float64)
        columns = {metric: _column(by_user, users, metric) for metric in METRICS}
        weighted[name] = {metric: mean_of(values, sizes) for metric, values in columns.items()}
        unweighted[name] = {metric: mean_of(values, np.ones_like(sizes)) for metric, values in columns.items()}
    return Means(weighted, unweighted)


def mean_of(values: Floats, weights: Floats) -> Estimate:
    """The weighted mean of the values [n] that are not NaN, with the half width of its confidence interval.

    The interval is Student's, from the standard error of a weighted mean. Fewer than FEWEST_USERS values have none.

    Source: Cochran, Sampling Techniques, section 6.4, on the ratio of two means.
    """
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    n = len(values)
    if n == 0:
        return Estimate(None)
    mean = float(np.average(values, weights=weights))
    if n < FEWEST_USERS:
        return Estimate(mean)
    from scipy.special import stdtrit  # slow to load, and most means are over one person or few

    variance = n / (n - 1) * np.sum((weights * (values - mean)) ** 2) / np.sum(weights) ** 2
    return Estimate(mean, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(variance)))


def superiority(scores: Mapping[str, Mapping[User, Score]]) -> dict[str, dict[str, float | None]]:
    """[a][b]: the share of users with both scores for whom a has the lower LogLoss; a tie counts as half a user.

    None if no user has both scores.

    Source: The benchmark's superiority matrix.
    """
    return {a: {b: _share_below(*_log_losses(scores, a, b)) for b in scores if b != a} for a in scores}


def signed_ranks(scores: Mapping[str, Mapping[User, Score]]) -> dict[str, dict[str, SignedRank]]:
    """[a][b]: the signed-rank test of a against b over the users with both scores."""
    return {a: {b: _signed_rank(*_log_losses(scores, a, b)) for b in scores if b != a} for a in scores}


def _column(by_user: Mapping[User, Score], users: Sequence[User], metric: str) -> Floats:
    """A metric of each user; NaN where it is not defined."""
    values = [by_user[user].metrics[metric] for user in users]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _log_losses(scores: Mapping[str, Mapping[User, Score]], a: str, b: str) -> tuple[Floats, Floats]:
    """The LogLoss of two algorithms for the users with both scores."""
    users = common_users({a: scores[a], b: scores[b]})
    loss_a, loss_b = (_column(scores[name], users, "LogLoss") for name in (a, b))
    known = ~np.isnan(loss_a + loss_b)
    return loss_a[known], loss_b[known]


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
    """A table of metrics, one row for each way of predicting; None and NaN are printed as a dash."""
    width = max(10, *(len(name) + 1 for name in rows))
    lines = [" " * width + "".join(f"{column:>12}" for column in COLUMNS)]
    for name, metrics in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_number(metrics[column]):>12}" for column in COLUMNS))
    return "\n".join(lines)


def format_means(scores: Mapping[str, Mapping[int, Score]], users: Sequence[int]) -> str:
    """Two tables of the means over at least one user: weighted by reviews, and with equal weight of every user.

    Args:
        scores: The score of every user, by way of predicting.
        users: The users to average.
    """
    both = means(scores, users)
    weighted, unweighted = (
        format_metrics({name: {metric: mean.value for metric, mean in row.items()} for name, row in rows.items()})
        for rows in (both.weighted, both.unweighted)
    )
    reviews = sum(next(iter(scores.values()))[user].size for user in users)
    counts = f"{counted(len(users), 'user')}, {counted(reviews, 'review')}"
    return f"{weighted}\n{counts}, means weighted by reviews\n\n{unweighted}\n{counts}, means over users"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
