"""Comparisons of several algorithms on the same reviews."""

import math

import numpy as np
import pytest

from rwkv.data.history import RevlogTable
from rwkv.data.keys import BenchmarkKeys, benchmark_keys, candidate_reviews
from rwkv.evaluation.baselines import average_predictions, moving_average_predictions
from rwkv.evaluation.comparison import Comparison, baseline_predictions, weighted_metrics
from rwkv.evaluation.fsrs6 import fsrs_predictions
from rwkv.evaluation.metrics import recall_metrics
from tests.benchmark.workspace import studied
from tests.helpers import make_table
from tests.typed import not_none

METRICS = ["RMSE", "LogLoss", "RMSE(bins)", "AUC"]


def with_gaps() -> tuple[RevlogTable, BenchmarkKeys]:
    """A history without every fifth review, and its keys without SHORT and SECS."""
    columns = studied(5)
    review_th = np.flatnonzero(np.arange(3 * len(columns["card_id"])) % 5 < 4)[: len(columns["card_id"])] + 1
    table = make_table(columns, review_th=review_th)
    return table, benchmark_keys(table, short=False, secs=False)


def test_baselines_predict_the_keys() -> None:
    table, keys = with_gaps()
    assert len(keys) > 50
    assert np.any(np.diff(table.review_th) > 1)
    predicted = baseline_predictions(table, keys, short=False, secs=False)
    assert list(predicted) == ["AVG", "MOVING-AVG", "FSRS-6-default"]
    rows = [table.review_th.tolist().index(th) for th in keys.review_ths.tolist()]
    expected = fsrs_predictions(table.card, table.rating, table.day_offset)[rows]
    np.testing.assert_array_equal(predicted["FSRS-6-default"], expected)
    assert np.isfinite(expected).all()
    assert predicted["AVG"].shape == (len(keys),)
    rating_of = dict(zip(table.review_th.tolist(), table.rating.tolist(), strict=True))
    candidates = candidate_reviews(table, short=False, secs=False).review_ths.tolist()
    assert candidates[-len(keys) :] == keys.review_ths.tolist()
    recalled = [rating_of[th] > 1 for th in candidates]
    np.testing.assert_array_equal(predicted["AVG"], average_predictions(recalled))
    np.testing.assert_array_equal(predicted["MOVING-AVG"], moving_average_predictions(recalled))


def user(p: dict[str, list[float]], y: list[int]) -> Comparison:
    return Comparison(
        1,
        np.arange(1, len(y) + 1, dtype=np.int32),
        {name: np.array(values, np.float32) for name, values in p.items()},
        np.array(y, np.int8),
        np.arange(len(y), dtype=np.int32) // 2,
    )


ONE = user({"a": [0.9, 0.2, 0.6, 0.7], "b": [0.5, 0.5, 0.5, 0.5]}, [1, 0, 1, 0])
TWO = user({"a": [0.8, 0.3], "b": [0.1, 0.4]}, [1, 0])
ONLY_RECALLED = user({"a": [0.8, 0.9, 0.7], "b": [0.5, 0.6, 0.7]}, [1, 1, 1])


def test_means_are_weighted_by_reviews() -> None:
    means = weighted_metrics([ONE, TWO])
    assert list(means) == ["a", "b"]
    for name, metrics in means.items():
        assert list(metrics) == METRICS
        one, two = (recall_metrics(comparison.p[name], comparison.y, comparison.bins) for comparison in (ONE, TWO))
        for metric, mean in metrics.items():
            assert mean == pytest.approx((4 * not_none(one[metric]) + 2 * not_none(two[metric])) / 6)


def test_the_mean_over_one_user_is_that_user() -> None:
    assert weighted_metrics([ONE])["a"] == recall_metrics(ONE.p["a"], ONE.y, ONE.bins)


def test_users_without_an_auc_are_left_out_of_its_mean() -> None:
    means, without = weighted_metrics([ONE, ONLY_RECALLED]), weighted_metrics([ONE])
    assert means["a"]["AUC"] == without["a"]["AUC"]
    assert means["a"]["LogLoss"] != without["a"]["LogLoss"]
    assert math.isnan(weighted_metrics([ONLY_RECALLED])["a"]["AUC"])


def test_no_users_are_an_error() -> None:
    with pytest.raises(ValueError, match="no users"):
        weighted_metrics([])


def test_the_length_of_a_comparison_is_the_number_of_reviews() -> None:
    assert [len(comparison) for comparison in (ONE, TWO, ONLY_RECALLED)] == [4, 2, 3]
