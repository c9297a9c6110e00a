"""Fits of many learners side by side: none touches another, none looks ahead, and they are worth it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.benchmark.simulate import simulate
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.data.simulate.fsrs5 import DEFAULT
from rwkv.evaluation.comparison import baseline_predictions
from rwkv.evaluation.realism import fit
from rwkv.evaluation.realism.families import dash, fsrs5, hlr
from rwkv.evaluation.realism.fit import Family, fitted_predictions, start_predictions
from rwkv.evaluation.realism.fsrs5 import CardWalk
from rwkv.evaluation.realism.histories import Histories, histories_of
from rwkv.evaluation.realism.rungs import RUNGS, rung_scores
from rwkv.evaluation.scores import score

CARDS, REVIEWS = 60, 5
FAMILIES = pytest.mark.parametrize("family", [fsrs5(), hlr(), dash()], ids=["FSRS-5", "HLR", "DASH"])


def learner(seed: int, w: np.ndarray = DEFAULT) -> Histories:
    """One whose recall is FSRS-5's with parameters w; all but the first reviews are counted, a sixth is only learnt."""
    rng = np.random.default_rng(seed)
    card = np.tile(np.arange(CARDS), REVIEWS)
    days = np.where(np.arange(len(card)) < CARDS, 0, rng.integers(1, 40, len(card)))
    rating = np.full(len(card), 3)
    luck = rng.random(len(card))
    counted = np.maximum(np.arange(len(card)) - CARDS, -1)
    fold = np.where(counted < 0, -1, counted * 6 // (len(card) - CARDS))
    made = Histories(1, np.zeros_like(card), card, rating, days, fold, np.zeros_like(card))
    for layer in range(1, REVIEWS):
        rows = np.arange(layer * CARDS, (layer + 1) * CARDS)
        p = CardWalk(made).recall(torch.from_numpy(w)[None]).numpy()
        rating[rows] = np.where(luck[rows] < p[rows], 3, 1)
    return made


def joined(*learners: Histories) -> Histories:
    columns = {name: np.concatenate([vars(of)[name] for of in learners]) for name in ("rating", "days", "fold", "bins")}
    user = np.repeat(np.arange(len(learners)), [len(of) for of in learners])
    card = np.concatenate([of.card + number * CARDS for number, of in enumerate(learners)])
    return Histories(len(learners), user, card, **columns)


@FAMILIES
def test_learners_do_not_touch_one_another(family: Family) -> None:
    one, other = learner(1), learner(2)
    together = fitted_predictions(joined(one, other), family)
    alone = np.concatenate([fitted_predictions(of, family) for of in (one, other)])
    # float32 sums in another order, after 110 steps.
    np.testing.assert_allclose(together, alone, atol=2e-3)


@FAMILIES
def test_predictions_do_not_look_ahead(family: Family) -> None:
    """What is answered in the last fold changes no prediction of the others."""
    of = learner(3)
    flipped = replace(of, rating=np.where(of.fold == 5, 4 - of.rating, of.rating))
    before, after = (fitted_predictions(one, family) for one in (of, flipped))
    fold = of.fold[of.fold > 0]
    np.testing.assert_array_equal(before[fold < 5], after[fold < 5])
    assert np.all((before > 0) & (before < 1))


def test_parameters_are_found() -> None:
    """A learner who forgets far sooner than usual: his fit is near his own parameters, the default is not."""
    own = DEFAULT.copy()
    own[:4] /= 4
    of = learner(4, own)
    tested = of.fold > 0
    came = of.recalled[tested].astype(np.int8)
    p = {
        "own": CardWalk(of).recall(torch.from_numpy(own)[None]).numpy()[tested],
        "fitted": fitted_predictions(of, fsrs5()),
        "default": start_predictions(of, fsrs5()),
    }
    loss = {name: score(of_name, came, came).metrics["LogLoss"] for name, of_name in p.items()}
    assert np.abs(p["fitted"] - p["own"]).mean() < 0.5 * np.abs(p["default"] - p["own"]).mean()
    assert loss["fitted"] < loss["default"]


def test_nothing_learnt_is_the_default() -> None:
    """A learner without counted reviews before a fold keeps the start's parameters."""
    of = learner(5)
    late = replace(of, fold=np.where(of.fold == 5, 1, -1))
    np.testing.assert_allclose(fitted_predictions(late, fsrs5()), start_predictions(late, fsrs5()), atol=1e-6)


def test_tested_are_the_benchmark_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same reviews and scores as the project's own keys and baselines; learners without keys have no scores."""
    monkeypatch.setattr(fit, "_FIRST_STEPS", 2)
    monkeypatch.setattr(fit, "_LATER_STEPS", 1)
    simulate(6, 350, 2, tmp_path)
    tables = [read_history(tmp_path, user) for user in range(1, 7)]
    found = rung_scores(histories_of(tables))
    assert [bool(of) for of in found] == [len(benchmark_keys(table, False, False)) > 0 for table in tables]
    assert sum(map(bool, found)) >= 4
    for table, of in zip(tables, found, strict=True):
        keys = benchmark_keys(table, False, False)
        if of:
            assert set(of) == set(RUNGS)
            came = (table.rating[np.searchsorted(table.review_th, keys.review_ths)] > 1).astype(np.int8)
            expected = baseline_predictions(table, keys, False, False)
            for name in ("AVG", "MOVING-AVG"):
                assert of[name] == score(expected[name], came, keys.rmse_bins)
