"""Standard errors of one user's metrics."""

import numpy as np
import pytest

from rwkv.evaluation.bootstrap import standard_errors
from rwkv.evaluation.metrics import METRICS
from tests.typed import not_none

RNG = np.random.default_rng(11)
TRUE = np.round(RNG.uniform(0.3, 0.98, 600), 2)
Y = (RNG.random(600) < TRUE).astype(np.int8)
BINS = RNG.integers(0, 12, 600)


def test_errors_are_those_of_a_mean() -> None:
    """LogLoss is a mean with a known standard error. 400 resamples come within 4 %; three times that is allowed."""
    loss = -np.log(np.where(Y == 1, TRUE, 1 - TRUE))
    (errors,) = standard_errors([TRUE], Y, BINS, seed=1)
    assert errors["LogLoss"] == pytest.approx(loss.std() / np.sqrt(len(loss)), rel=0.12)
    assert all(0 < not_none(errors[name]) < 0.1 for name in METRICS)


def test_errors_depend_on_the_seed_and_not_on_other_algorithms() -> None:
    alone = standard_errors([TRUE], Y, BINS, seed=2)
    assert standard_errors([TRUE**2, TRUE], Y, BINS, seed=2)[1:] == alone
    assert standard_errors([TRUE], Y, BINS, seed=3) != alone


def test_one_class_has_no_auc() -> None:
    (errors,) = standard_errors([TRUE[:9]], np.ones(9, np.int8), BINS[:9], seed=1)
    assert errors["AUC"] is None
    assert not_none(errors["LogLoss"]) > 0


def test_one_review_has_no_spread() -> None:
    (errors,) = standard_errors([[0.4]], [1], [0], seed=1)
    assert errors.pop("AUC") is None
    assert errors == pytest.approx({"RMSE": 0, "LogLoss": 0, "RMSE(bins)": 0}, abs=1e-12)
