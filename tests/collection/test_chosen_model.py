"""The model that a command chooses, and its notices."""

import json
from pathlib import Path

import pytest

from rwkv.collection.chosen_model import DEMO_NOTICE, SHIPPED_NOTICE, choose_model
from rwkv.errors import CheckpointError, InputError
from rwkv.model.card import CARD, DEMO, SHIPPED, TRAINED_BY
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.networks import recipe_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    write_weights(path, recipe_network(PUBLISHED).state_dict())
    return path


def test_other_weights_have_no_notice(weights: Path) -> None:
    model = choose_model(weights)
    assert (model.path, model.notice) == (weights, None)
    assert model.runner.spec == model.weights.spec == PUBLISHED


def test_the_packages_weights_are_the_default() -> None:
    model = choose_model(None)
    assert (model.path, model.notice) == (SHIPPED, SHIPPED_NOTICE)


@pytest.mark.parametrize("title", ["weights", "before: weights"])
def test_weights_with_the_demos_card_have_its_notice_in_any_folder(tmp_path: Path, title: str) -> None:
    """Also weights that were made from them."""
    assert choose_model(with_card(tmp_path, json.dumps({title: {TRAINED_BY: DEMO}}))).notice == DEMO_NOTICE


def test_other_weights_in_the_folder_of_a_demo_have_no_notice(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "simulated.json").write_text("{}")
    (tmp_path / "other.pth").write_bytes(weights.read_bytes())
    assert choose_model(tmp_path / "other.pth").notice is None


@pytest.mark.parametrize("title", ["adapted", "before: adapted", "before: before: adapted"])
def test_adapted_weights_have_a_notice(tmp_path: Path, title: str) -> None:
    """Also where other weights were made of them."""
    adapted = {"to": "user 1", "trained on": "the first 80 of the 100 reviews of user 1 in mine"}
    notice = choose_model(with_card(tmp_path, json.dumps({title: adapted, "training": {"steps": 5}}))).notice
    assert notice == (
        "weights adapted to user 1; scores on the reviews that they were trained on, the first 80 of the 100 reviews "
        "of user 1 in mine, are too good"
    )


def test_the_notice_of_adapted_weights_without_reviews_in_the_card(tmp_path: Path) -> None:
    notice = choose_model(with_card(tmp_path, json.dumps({"adapted": {"to": "users 1, 2"}}))).notice
    assert notice is not None
    assert notice.startswith("weights adapted to users 1, 2; scores on the reviews that they were trained on, most of")


def test_weights_adapted_twice_have_both_notices(tmp_path: Path) -> None:
    card = {"adapted": {"to": "users 2"}, "before: adapted": {"to": "users 1"}}
    notice = choose_model(with_card(tmp_path, json.dumps(card))).notice
    assert notice is not None
    assert notice.index("users 2") < notice.index("users 1")


def test_a_damaged_card_leaves_the_weights_usable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_model(with_card(tmp_path, "{")).notice is None
    assert "unknown whether the weights were adapted" in caplog.text
    assert choose_model(with_card(tmp_path, json.dumps({"training": {"steps": 5}}))).notice is None


def with_card(folder: Path, card: str) -> Path:
    path = folder / "mine.safetensors"
    write_weights(path, recipe_network(PUBLISHED).state_dict(), {CARD: card})
    return path


def test_a_package_without_its_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwkv.collection.chosen_model.SHIPPED", tmp_path / "rwkv.safetensors")
    with pytest.raises(InputError, match="`model`"):
        choose_model(None)
    with pytest.raises(CheckpointError, match="file of weights does not exist"):
        choose_model(Path("nowhere.pth"))
