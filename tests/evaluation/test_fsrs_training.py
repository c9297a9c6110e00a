"""FSRS-6 optimised on a user, against the package's memory states."""

import sys

import fsrs_rs_python as package
import numpy as np
import pytest
from sklearn.model_selection import TimeSeriesSplit

from rwkv.data.keys import benchmark_keys, candidate_reviews
from rwkv.errors import InputError
from rwkv.evaluation.comparison import trained_predictions
from rwkv.evaluation.fsrs_training import trained_fsrs_predictions
from tests.benchmark.workspace import studied
from tests.helpers import make_table

TABLE = make_table(studied(3, cards=120))
ROWS = np.searchsorted(TABLE.review_th, candidate_reviews(TABLE, short=False, secs=False).review_ths)


def item(row: int, inclusive: bool) -> package.FSRSItem:
    """The card's reviews before a row, and if `inclusive` that row's review."""
    card_rows = [i for i in range(row + inclusive) if TABLE.card[i] == TABLE.card[row]]
    return package.FSRSItem(
        [package.FSRSReview(int(TABLE.rating[i]), max(0, int(TABLE.elapsed_days[i]))) for i in card_rows]
    )


def test_each_fold_is_predicted_by_parameters_learnt_before_it() -> None:
    expected = []
    for before, fold in TimeSeriesSplit(n_splits=5).split(ROWS):
        w = package.FSRS([]).benchmark([item(row, True) for row in ROWS[before].tolist()])
        states = package.FSRS(w).memory_state_batch([item(row, False) for row in ROWS[fold].tolist()])
        days, stability = TABLE.elapsed_days[ROWS[fold]], np.array([state.stability for state in states])
        expected += ((1 + (0.9 ** (-1 / w[20]) - 1) * days / stability) ** -w[20]).tolist()
    ours = trained_predictions(TABLE)["FSRS-6"]
    assert ours.dtype == np.float32
    assert len(ours) == len(benchmark_keys(TABLE, short=False, secs=False)) > 100
    # Parameters are rounded to four places, as the benchmark does.
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_parameters_differ_between_folds_and_from_the_default() -> None:
    """Cards with the same history get a different prediction in each fold."""
    reviews = 60
    card = np.repeat(np.arange(reviews), 2)
    day = np.stack([np.arange(reviews), np.arange(reviews) + 4], axis=1).ravel()
    order = np.argsort(day, kind="stable")
    rating = np.where(np.arange(2 * reviews) % 2 == 0, 3, np.where(card % 3 == 0, 1, 3))
    is_second = np.arange(2 * reviews) % 2 == 1
    p = trained_fsrs_predictions(card[order], rating[order], day[order], np.flatnonzero(is_second[order]))
    assert [len(set(p[start : start + 10].tolist())) for start in range(0, 50, 10)] == [1] * 5
    assert len(set(p.tolist())) == 5
    assert abs(p[-1] - 2 / 3) < 0.1  # this user's recall after four days


def test_few_candidates_make_no_fold() -> None:
    assert len(trained_fsrs_predictions(np.zeros(6, int), np.full(6, 3), np.arange(6) * 3, np.arange(1, 6))) == 0


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsrs_rs_python", None)
    with pytest.raises(InputError, match="fsrs-rs-python") as caught:
        trained_predictions(TABLE)
    assert "pip install" in str(caught.value)
