"""FSRS-6 of `rwkv compare` against Anki's own, on a collection that Anki wrote with FSRS on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.typed import not_none

pytest.importorskip("anki")  # only where the extra [anki] is not installed; it is part of [dev]

from anki.collection import Collection
from anki.scheduler_pb2 import FsrsItem, FsrsReview
from fsrs.scheduler import DEFAULT_PARAMETERS

from rwkv.collection.compare_users import compare_users
from rwkv.collection.import_collections import import_collections
from rwkv.data.history import RevlogTable
from rwkv.data.keys import candidate_reviews, folds_of
from rwkv.data.revlogs import read_history
from rwkv.evaluation.comparison import Comparison
from rwkv.evaluation.fsrs6 import fsrs_predictions
from rwkv.model.spec import PUBLISHED
from tests.data.imports.anki.clients import Learner
from tests.networks import recipe_network, runner_for

OTHER_PARAMETERS = [0.5, 1.2, 3.4, 9, 6, 0.9, 2.8, 0.01, 1.7, 0.2, 0.8, 1.5, 0.06, 0.3, 1.6, 0.6, 2, 0.6, 0.2, 0.1, 0.3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four days of forty words in learner/collection.anki2, imported as user 1 below data/."""
    folder = tmp_path_factory.mktemp("compare_anki")
    learner = Learner(folder / "learner" / "collection.anki2")
    deck = learner.add_notes("Words", [f"word {number}" for number in range(40)])
    decks = learner.collection.decks
    preset = not_none(decks.get_config(not_none(decks.get(deck))["conf"]))
    preset["new"]["perDay"] = preset["rev"]["perDay"] = 999
    decks.update_config(preset)
    learner.collection.set_config("fsrs", True)
    rng = np.random.default_rng(1)
    for day in range(24):
        learner.study(deck, rng.choice([1, 2, 3, 4], 50, p=[0.2, 0.1, 0.6, 0.1]).tolist(), most=60)
        learner.pass_time(6 if day % 5 == 4 else 1, seconds=100)
    import_collections([learner.close()], folder / "data")
    return folder


@pytest.fixture
def table(folder: Path) -> RevlogTable:
    return read_history(folder / "data", 1)


@pytest.fixture(scope="module")
def compared(folder: Path) -> Comparison:
    (one,) = compare_users(folder / "data", [1], runner_for(recipe_network(PUBLISHED))).users
    return one


def recall(table: RevlogTable, parameters: Sequence[float]) -> np.ndarray:
    """FSRS-6 with these parameters, [R]."""
    return fsrs_predictions(table.card, table.rating, table.day_offset, parameters)


def test_recall_matches_ankis_evaluation(folder: Path, table: RevlogTable) -> None:
    """Anki's LogLoss counts all reviews on later days, recent ones up to four times as much."""
    rows = np.flatnonzero(table.elapsed_days > 0)
    assert len(rows) > 300
    weights = 0.25 + 0.75 * np.linspace(0, 1, len(rows)) ** 3
    collection = Collection(str(folder / "learner" / "collection.anki2"))
    for parameters in (list(DEFAULT_PARAMETERS), OTHER_PARAMETERS):
        p = recall(table, parameters)[rows].astype(np.float64)
        ours = np.average(-np.log(np.where(table.rating[rows] > 1, p, 1 - p)), weights=weights)
        theirs = collection._backend.evaluate_params_legacy(
            params=parameters, search="deck:*", ignore_revlogs_before_ms=0
        )
        # Theirs is a sum in float32.
        assert ours == pytest.approx(theirs.log_loss, rel=5e-6)
    collection.close()


def test_default_parameters_at_the_keys(table: RevlogTable, compared: Comparison) -> None:
    at_keys = np.searchsorted(table.review_th, compared.review_th)
    np.testing.assert_array_equal(compared.p["FSRS-6-default"], recall(table, DEFAULT_PARAMETERS)[at_keys])


def test_parameters_match_ankis(folder: Path, table: RevlogTable, compared: Comparison) -> None:
    """Fold by fold, with Anki's own trainer in the place of the package."""
    rows = np.searchsorted(table.review_th, candidate_reviews(table, short=False, secs=False).review_ths)
    items = [_item(table, row) for row in rows.tolist()]
    collection = Collection(str(folder / "learner" / "collection.anki2"))
    p = []
    for fold in folds_of(len(rows)):
        learnt = collection._backend.fsrs_benchmark(items[: fold.start])
        p.append(recall(table, [round(value, 4) for value in learnt])[rows[fold]])
    collection.close()
    # Two builds of the same trainer may differ in the last of the four places.
    np.testing.assert_allclose(compared.p["FSRS-6"], np.concatenate(p), atol=1e-3)
    assert np.abs(compared.p["FSRS-6"] - compared.p["FSRS-6-default"]).max() > 0.02


def _item(table: RevlogTable, row: int) -> FsrsItem:
    """A review with all earlier ones of its card, as Anki takes it."""
    of_card = [i for i in range(row + 1) if table.card[i] == table.card[row]]
    days = table.day_offset[of_card]
    deltas = np.diff(days, prepend=days[:1]).tolist()
    ratings = table.rating[of_card].tolist()
    return FsrsItem(
        reviews=[FsrsReview(rating=rating, delta_t=delta) for rating, delta in zip(ratings, deltas, strict=True)]
    )
