"""Fits of many learners in parallel: independent, without looking ahead, and better than the default."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.data.fsrs5 import DEFAULT
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.evaluation.comparison import baseline_predictions
from rwkv.evaluation.realism import fit
from rwkv.evaluation.realism.families import dash, fsrs5, hlr
from rwkv.evaluation.realism.fit import Family, fitted_parameters, fitted_predictions, start_predictions
from rwkv.evaluation.realism.fsrs5 import CardWalk
from rwkv.evaluation.realism.histories import Histories, histories_of
from rwkv.evaluation.realism.rungs import RUNGS, rung_scores
from rwkv.evaluation.scores import score
from tests.benchmark.workspace import studied
from tests.helpers import write_history
from tests.typed import not_none

CARDS, REVIEWS = 60, 5
FAMILIES = pytest.mark.parametrize("family", [fsrs5(), hlr(), dash()], ids=["FSRS-5", "HLR", "DASH"])


def learner(seed: int, w: np.ndarray = DEFAULT) -> Histories:
    """A learner whose recall follows FSRS-5 with parameters w. First reviews do not count; fold 0 is a sixth."""
    rng = np.random.default_rng(seed)
    card = np.tile(np.arange(CARDS), REVIEWS)
    days = np.where(np.arange(len(card)) < CARDS, 0, rng.integers(1, 40, len(card)))
    rating = np.full(len(card), 3)
    luck = rng.random(len(card))
    counted = np.maximum(np.arange(len(card)) - CARDS, -1)
    fold = np.where(counted < 0, -1, counted * 6 // (len(card) - CARDS))
    histories = Histories(1, np.zeros_like(card), card, rating, days, fold, np.zeros_like(card))
    for layer in range(1, REVIEWS):
        rows = np.arange(layer * CARDS, (layer + 1) * CARDS)
        p = CardWalk(histories).recall(torch.from_numpy(w)[None]).numpy()
        rating[rows] = np.where(luck[rows] < p[rows], 3, 1)
    return histories


def joined(*learners: Histories) -> Histories:
    columns = {
        name: np.concatenate([vars(one)[name] for one in learners]) for name in ("rating", "days", "fold", "bins")
    }
    user = np.repeat(np.arange(len(learners)), [len(one) for one in learners])
    card = np.concatenate([one.card + number * CARDS for number, one in enumerate(learners)])
    return Histories(len(learners), user, card, **columns)


@FAMILIES
def test_learners_are_independent(family: Family) -> None:
    one, other = learner(1), learner(2)
    together = fitted_predictions(joined(one, other), family)
    alone = np.concatenate([fitted_predictions(histories, family) for histories in (one, other)])
    # float32 sums in another order, after 110 steps.
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_parameters_are_each_learners_own() -> None:
    """A first Good that lasts for half a day and one that lasts for forty, fitted together, come out apart."""
    w = np.stack([DEFAULT, DEFAULT])
    w[:, 2] = 0.5, 40
    fitted = fitted_parameters(joined(learner(5, w[0]), learner(6, w[1])), fsrs5())
    assert fitted.shape == (2, len(DEFAULT))
    assert fitted[0, 2] < DEFAULT[2] < fitted[1, 2]


@FAMILIES
def test_predictions_do_not_look_ahead(family: Family) -> None:
    """Answers in the last fold change no prediction in the others."""
    histories = learner(3)
    flipped = replace(histories, rating=np.where(histories.fold == 5, 4 - histories.rating, histories.rating))
    before, after = (fitted_predictions(one, family) for one in (histories, flipped))
    fold = histories.fold[histories.fold > 0]
    np.testing.assert_array_equal(before[fold < 5], after[fold < 5])
    assert np.all((before > 0) & (before < 1))


def test_parameters_are_recovered() -> None:
    """For a learner who forgets far sooner than usual, the fit is closer to the true recall than the default."""
    own = DEFAULT.copy()
    own[:4] /= 4
    histories = learner(4, own)
    tested = histories.fold > 0
    y = histories.recalled[tested].astype(np.int8)
    p = {
        "own": CardWalk(histories).recall(torch.from_numpy(own)[None]).numpy()[tested],
        "fitted": fitted_predictions(histories, fsrs5()),
        "default": start_predictions(histories, fsrs5()),
    }
    loss = {name: not_none(score(predicted, y, y).metrics["LogLoss"]) for name, predicted in p.items()}
    assert np.abs(p["fitted"] - p["own"]).mean() < 0.5 * np.abs(p["default"] - p["own"]).mean()
    assert loss["fitted"] < loss["default"]


def test_a_fit_without_reviews_is_the_default() -> None:
    """A learner without counted reviews before a fold keeps the starting parameters."""
    histories = learner(5)
    late = replace(histories, fold=np.where(histories.fold == 5, 1, -1))
    np.testing.assert_allclose(fitted_predictions(late, fsrs5()), start_predictions(late, fsrs5()), atol=1e-6)


def test_the_tested_reviews_are_the_benchmark_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rungs score the same reviews as the keys and baselines; learners without keys have no scores."""
    monkeypatch.setattr(fit, "_FIRST_STEPS", 2)
    monkeypatch.setattr(fit, "_LATER_STEPS", 1)
    for user in range(1, 6):
        write_history(tmp_path, user, studied(user))
    write_history(tmp_path, 6, studied(6, cards=1))
    tables = [read_history(tmp_path, user) for user in range(1, 7)]
    scores = rung_scores(histories_of(tables))
    assert [bool(by_rung) for by_rung in scores] == [len(benchmark_keys(table, False, False)) > 0 for table in tables]
    assert sum(map(bool, scores)) >= 4
    for table, by_rung in zip(tables, scores, strict=True):
        keys = benchmark_keys(table, False, False)
        if by_rung:
            assert set(by_rung) == set(RUNGS)
            y = (table.rating[np.searchsorted(table.review_th, keys.review_ths)] > 1).astype(np.int8)
            expected = baseline_predictions(table, keys, False, False)
            for name in ("AVG", "MOVING-AVG"):
                assert by_rung[name] == score(expected[name], y, keys.rmse_bins)
