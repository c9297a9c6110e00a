"""The averages: AVG against scikit-learn's folds."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from rwkv.evaluation.baselines import average_predictions, moving_average_predictions


@given(st.lists(st.integers(0, 1), max_size=80))
def test_average_of_everything_before_the_fold(y: list[int]) -> None:
    expected = []
    if len(y) >= 6:
        for before, fold in TimeSeriesSplit(n_splits=5).split(np.zeros(len(y))):
            expected += [sum(y[row] for row in before) / len(before)] * len(fold)
    ours = average_predictions(np.array(y, np.int8))
    assert ours.dtype == np.float32
    assert len(ours) == 5 * (len(y) // 6)
    np.testing.assert_allclose(ours, np.array(expected), rtol=1e-7)


def test_average_by_hand() -> None:
    np.testing.assert_allclose(average_predictions([1, 1, 0, 1, 0, 1, 1]), [1, 2 / 3, 3 / 4, 3 / 5, 4 / 6], rtol=1e-6)


def test_moving_average_by_hand() -> None:
    logit, expected = 1.2, []
    y = [1, 1, 0, 1, 0, 1, 1]
    for outcome in y:
        expected.append(1 / (1 + math.exp(-logit)))
        if outcome:
            logit += 0.3 / (math.exp(logit) + 1)
        else:
            logit -= 0.3 * math.exp(logit) / (math.exp(logit) + 1)
    ours = moving_average_predictions(y)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected[2:], rtol=1e-6)
    assert len(moving_average_predictions(y[:5])) == 0
