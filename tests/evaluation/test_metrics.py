"""The metrics against hand calculations and scikit-learn, and their invariances."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from rwkv.evaluation.metrics import METRICS, PredictedAnswers, log_losses, recall_metrics

NAMES = ["RMSE", "LogLoss", "RMSE(bins)", "AUC"]

# One unit of the last decimal, for values that may round either way.
ROUNDING = 1.001e-6


def reviews() -> st.SearchStrategy[list[tuple[float, int, int]]]:
    """Reviews as (p, y, bin)."""
    return st.lists(
        st.tuples(st.floats(0, 1, width=32), st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=40
    )


def assert_equal_metrics(ours: dict[str, float | None], expected: dict[str, float | None]) -> None:
    for name in NAMES:
        assert ours[name] == pytest.approx(expected[name], abs=ROUNDING), name


def test_metrics_by_hand() -> None:
    metrics = recall_metrics([0.9, 0.6, 0.5, 0.2], [1, 0, 1, 0], [4, 4, 7, 7])
    losses = [-math.log(0.9), -math.log(0.4), -math.log(0.5), -math.log(0.8)]
    assert list(metrics) == NAMES
    assert metrics["LogLoss"] == pytest.approx(sum(losses) / 4, abs=ROUNDING)
    assert metrics["RMSE"] == pytest.approx(math.sqrt((0.01 + 0.36 + 0.25 + 0.04) / 4), abs=ROUNDING)
    assert metrics["RMSE(bins)"] == pytest.approx(math.sqrt((0.25**2 + 0.15**2) / 2), abs=ROUNDING)
    assert metrics["AUC"] == 0.75


def test_bins_are_weighted_by_their_reviews() -> None:
    metrics = recall_metrics([0.5, 0.5, 0.5, 1.0], [1, 1, 1, 0], [0, 0, 0, 1])
    assert metrics["RMSE(bins)"] == pytest.approx(math.sqrt((3 * 0.25 + 1) / 4), abs=ROUNDING)


@pytest.mark.parametrize("y", [0, 1])
def test_auc_is_none_where_a_class_is_missing(y: int) -> None:
    metrics = recall_metrics([0.3, 0.8], [y, y], [0, 1])
    assert metrics["AUC"] is None
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)


def test_certain_mistakes_cost_the_same_in_every_dtype() -> None:
    """p is rounded to float32 and clipped at the eps of float64, as in the published numbers."""
    expected = -math.log(np.finfo(np.float64).eps)
    for p in (np.ones(1, np.float32), np.ones(1), [1 - 1e-12]):
        assert recall_metrics(p, [0], [0])["LogLoss"] == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("p", [[math.nan], [1.5], [-0.5]])
def test_values_outside_0_to_1_are_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        recall_metrics(p, np.ones(len(p)), np.zeros(len(p), np.int32))


@given(reviews(), st.randoms(use_true_random=False))
def test_order_of_reviews_does_not_matter(rows: list[tuple[float, int, int]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert_equal_metrics(recall_metrics(*zip(*shuffled, strict=True)), recall_metrics(*zip(*rows, strict=True)))


@given(reviews(), st.permutations(range(-3, 4)))
def test_names_of_bins_do_not_matter(rows: list[tuple[float, int, int]], names: list[int]) -> None:
    p, y, bins = zip(*rows, strict=True)
    renamed = [1000 * names[number + 3] for number in bins]
    assert_equal_metrics(recall_metrics(p, y, renamed), recall_metrics(p, y, bins))


@given(reviews())
def test_bins_of_single_reviews_give_rmse_and_one_bin_the_mean_error(rows: list[tuple[float, int, int]]) -> None:
    p, y, _ = (np.array(column) for column in zip(*rows, strict=True))
    single = recall_metrics(p, y, np.arange(len(p)))
    assert single["RMSE(bins)"] == pytest.approx(single["RMSE"], abs=ROUNDING)
    together = recall_metrics(p, y, np.zeros(len(p), np.int32))
    assert together["RMSE(bins)"] == pytest.approx(abs(np.mean(y) - np.mean(p)), abs=ROUNDING)


@given(reviews())
def test_log_loss_and_auc_are_those_of_scikit_learn(rows: list[tuple[float, int, int]]) -> None:
    p, y, bins = (np.array(column) for column in zip(*rows, strict=True))
    ours = recall_metrics(p, y, bins)
    assert ours["LogLoss"] == pytest.approx(log_loss(y, p, labels=[0, 1]), abs=ROUNDING)
    assert log_losses(p, y).mean() == pytest.approx(log_loss(y, p, labels=[0, 1]))
    if len(set(y.tolist())) == 2:
        ranks = np.unique(p, return_inverse=True)[1]
        assert ours["AUC"] == pytest.approx(roc_auc_score(y, ranks), abs=ROUNDING)


@given(reviews(), st.data())
def test_counting_a_review_is_repeating_it(rows: list[tuple[float, int, int]], data: st.DataObject) -> None:
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any)))
    p, y, bins = (np.array(column) for column in zip(*rows, strict=True))
    again = np.repeat(np.arange(len(rows)), counts)
    weighted = [
        None if math.isnan(value) else value for value in PredictedAnswers(p, y, bins).metrics(counts.astype(float))
    ]
    assert_equal_metrics(dict(zip(METRICS, weighted, strict=True)), recall_metrics(p[again], y[again], bins[again]))


def test_numbers_are_plain_and_rounded_to_six_places() -> None:
    rng = np.random.default_rng(5)
    metrics = recall_metrics(rng.random(100, np.float32), rng.integers(0, 2, 100), rng.integers(0, 9, 100))
    for value in metrics.values():
        assert type(value) is float
        assert value == round(value, 6)
