"""States of the network that predictions keep beside a collection."""

from pathlib import Path

import numpy as np
import pytest

from rwkv.collection import engine_cache
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.learner import read_learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.model.checkpoint import weights_of
from rwkv.recurrent.engine import Engine
from tests.collection.people import MODEL, REVIEWED, make_person
from tests.collection.test_card_predictions import assert_close, predicted
from tests.networks import SMALL, recipe_network


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of reviews that engines were fed with, as they come."""
    counts: list[int] = []
    feeding = Engine.feeding

    def counted(engine: Engine, table: RevlogTable) -> object:
        counts.append(len(table))
        return feeding(engine, table)

    monkeypatch.setattr(Engine, "feeding", counted)
    return counts


def test_the_second_prediction_reads_no_history(tmp_path: Path, fed: list[int]) -> None:
    root = make_person(tmp_path)
    first, second = predicted(root), predicted(root)
    assert fed == [80]
    for name, column in second.columns.items():
        np.testing.assert_array_equal(column, first.columns[name], err_msg=name)


def test_only_reviews_after_the_saved_states_are_read(tmp_path: Path, fed: list[int]) -> None:
    predicted(make_person(tmp_path / "grown", reviews=60))
    assert_close(predicted(make_person(tmp_path / "grown")), predicted(make_person(tmp_path / "whole")))
    assert fed == [60, 20, 80]


@pytest.mark.parametrize("change", ["weights", "history", "damage"])
def test_states_that_do_not_fit_are_not_used(tmp_path: Path, fed: list[int], change: str) -> None:
    root, model = make_person(tmp_path / "changed"), MODEL
    predicted(root)
    if change == "weights":
        model = ChosenModel(Path("other.pth"), weights_of(recipe_network(SMALL, 0.3)), notice=None)
    elif change == "history":
        make_person(root, reviews=50)
    else:
        state = root / "collection" / "user_id=1" / "state.rwkv"
        state.write_bytes(state.read_bytes()[:-1])
    whole = make_person(tmp_path / "whole", reviews=50 if change == "history" else 80)
    assert_close(predicted(root, model), predicted(whole, model))
    assert fed[1:] == [fed[1], fed[1]]


def test_nothing_else_is_written(tmp_path: Path) -> None:
    root = make_person(tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    predicted(root)
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} == {"state.rwkv", "predictions.rwkv"}
    assert before.items() <= after.items()


def test_cards_are_predicted_even_if_states_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("The disk is full.")

    monkeypatch.setattr(Engine, "save", refuse)
    assert len(predicted(make_person(tmp_path))) == REVIEWED + 1
    assert "The disk is full." in caplog.text


def test_states_that_are_too_large_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rwkv")
    root, learner = make_person(tmp_path), read_learner(make_person(tmp_path), 1)
    engine, _ = engine_cache.fed_engine(learner, MODEL, 0)
    size = engine.saved_bytes
    engine.close()
    assert not list(root.rglob("*.rwkv"))
    assert "are not saved" in caplog.text
    engine_cache.fed_engine(learner, MODEL, size)[0].close()
    (state,) = root.rglob("state.rwkv")
    assert size < state.stat().st_size < size + 2000
    assert "saved the network's states" in caplog.text


def test_existing_states_are_kept_up_to_date(tmp_path: Path, fed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has once asked for a large file keeps it, until a limit says otherwise."""
    monkeypatch.setattr(engine_cache, "MOST_BYTES", 1)
    root = make_person(tmp_path, reviews=60)
    predicted(root)
    assert not list(root.rglob("*.rwkv"))
    learner = read_learner(root, 1)
    engine_cache.fed_engine(learner, MODEL, 10**9)[0].close()
    predicted(make_person(tmp_path))
    predicted(root)
    assert fed == [60, 60, 20]
    engine_cache.fed_engine(read_learner(root, 1), MODEL, 0)[0].close()
    assert not list(root.rglob("*.rwkv"))
