"""Means with confidence intervals, superiority and signed-rank tests over users."""

import numpy as np
import pytest
from scipy import stats

from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import (
    CONFIDENCE,
    FEWEST_USERS,
    common_users,
    mean_of,
    means,
    signed_ranks,
    superiority,
)
from tests.typed import not_none

RNG = np.random.default_rng(5)
USERS = range(40)
SIZES = RNG.integers(10, 2000, len(USERS))


def scores_from(log_loss: np.ndarray, sizes: np.ndarray = SIZES) -> dict[int, Score]:
    """Scores of users 0, 1, ... with these values for every metric; user 0 has no AUC."""
    return {
        user: Score({"RMSE": x, "LogLoss": x, "RMSE(bins)": x, "AUC": None if user == 0 else x}, int(size))
        for user, (x, size) in enumerate(zip(log_loss.tolist(), sizes, strict=False))
    }


BETTER = RNG.uniform(0.2, 0.4, len(USERS))
WORSE = BETTER + RNG.normal(0.02, 0.02, len(USERS))
SCORES = {"better": scores_from(BETTER), "worse": scores_from(WORSE)}


def test_means_are_weighted_by_reviews_or_not() -> None:
    averages = means(SCORES, USERS)
    assert list(averages.weighted) == list(averages.unweighted) == ["better", "worse"]
    assert averages.weighted["worse"]["LogLoss"].value == pytest.approx(np.average(WORSE, weights=SIZES))
    assert averages.unweighted["worse"]["LogLoss"].value == pytest.approx(WORSE.mean())
    assert averages.weighted["worse"]["AUC"].value == pytest.approx(np.average(WORSE[1:], weights=SIZES[1:]))


def test_no_users_are_an_error() -> None:
    with pytest.raises(ValueError, match="no users"):
        means(SCORES, [])


def test_users_are_common_in_order() -> None:
    assert common_users({"a": scores_from(BETTER[:5]), "b": {3: SCORES["better"][3], 1: SCORES["better"][1]}}) == [1, 3]


def test_the_unweighted_interval_is_student_s() -> None:
    low, high = stats.t.interval(CONFIDENCE, len(WORSE) - 1, WORSE.mean(), stats.sem(WORSE))
    assert mean_of(WORSE, np.ones(len(WORSE))).half_width == pytest.approx((high - low) / 2)


def test_the_weighted_interval_is_as_wide_as_a_bootstrap_s() -> None:
    """The benchmark uses a bootstrap; at 400 users, Student's quantile differs from the normal one by 1 %."""
    rng = np.random.default_rng(6)
    weights = rng.lognormal(0, 1, 400)
    values = rng.normal(0.3, 0.1, 400) + 0.02 * weights
    resampled = rng.multinomial(400, np.full(400, 1 / 400), size=4000)
    drawn = resampled @ (weights * values) / (resampled @ weights)
    expected = stats.norm.ppf((1 + CONFIDENCE) / 2) * drawn.std()
    # The bootstrap of 4,000 resamples has an error of 1 % itself, and the heavy weights skew it.
    assert mean_of(values, weights).half_width == pytest.approx(expected, rel=0.06)


def test_too_few_users_have_no_interval() -> None:
    few, enough = (mean_of(WORSE[:n], np.ones(n)) for n in (FEWEST_USERS - 1, FEWEST_USERS))
    assert few.value == pytest.approx(WORSE[: FEWEST_USERS - 1].mean())
    assert few.half_width is None
    assert enough.half_width is not None
    assert mean_of(np.array([np.nan]), np.ones(1)).value is None


def test_superiority_counts_users() -> None:
    share = superiority(
        {"a": scores_from(np.array([0.1, 0.5, 0.3, 0.2])), "b": scores_from(np.array([0.2, 0.4, 0.3, 0.9]))}
    )
    assert share == {"a": {"b": 0.625}, "b": {"a": 0.375}}
    assert superiority({"a": scores_from(BETTER[:1]), "b": {7: SCORES["better"][7]}})["a"] == {"b": None}


def test_signed_ranks_are_wilcoxon_s() -> None:
    tests = signed_ranks(SCORES)
    forth, back = tests["better"]["worse"], tests["worse"]["better"]
    expected = stats.wilcoxon(BETTER, WORSE)
    assert forth.n == len(USERS)
    assert forth.p == back.p == pytest.approx(expected.pvalue)
    z = stats.wilcoxon(BETTER, WORSE, method="asymptotic").zstatistic
    assert forth.effect == pytest.approx(-z / np.sqrt(len(USERS)))
    assert back.effect == -not_none(forth.effect)
    assert not_none(forth.effect) > 0.3
    assert not_none(forth.p) < 0.01


def test_ties_do_not_count_and_few_users_have_no_test() -> None:
    most = np.where(np.arange(len(USERS)) < FEWEST_USERS - 1, WORSE, BETTER)
    few = signed_ranks({"a": scores_from(BETTER), "b": scores_from(most)})["a"]["b"]
    assert (few.n, few.p, few.effect) == (FEWEST_USERS - 1, None, None)
    all_better = signed_ranks({"a": scores_from(BETTER[:FEWEST_USERS]), "b": scores_from(BETTER[:FEWEST_USERS] + 0.1)})[
        "a"
    ]["b"]
    assert all_better.p == pytest.approx(2 / 2**FEWEST_USERS)
    assert not_none(all_better.p) < 1 - CONFIDENCE
    assert not_none(all_better.effect) > 0.8
