"""The weights of the package and their model card."""

import json
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.errors import CheckpointError
from rwkv.model.card import CARD, SHIPPED, card_lines, read_card
from rwkv.model.checkpoint import read_weights, write_weights
from rwkv.model.spec import PUBLISHED
from rwkv.model.weights_file import read_metadata
from rwkv.recurrent.engine import Engine
from tests.networks import recipe_network

CARD_FACTS = {"weights": {"name": "mine"}, "trained on": {"learners": "three"}}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    write_weights(path, recipe_network(PUBLISHED).state_dict(), {CARD: json.dumps(CARD_FACTS)})
    return path


def test_the_packages_weights_have_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is small enough for a package, and its card states its limits."""
    assert SHIPPED.stat().st_size < 6_000_000
    read_weights(SHIPPED)
    card = read_card(SHIPPED)
    assert card is not None
    assert {"weights", "trained on", "limits"} <= card.keys()
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert all(title in out for title in card)


def test_the_engine_loads_the_packages_weights_by_default() -> None:
    assert Engine.load().reviews == 0


def test_a_written_card_is_read(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_card(weights) == CARD_FACTS
    assert card_lines(CARD_FACTS) == ["weights", "  name: mine", "", "trained on", "  learners: three"]
    assert main(["info", "--model", str(weights), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == CARD_FACTS


def test_weights_without_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("plain.pth", "plain.safetensors"):
        write_weights(tmp_path / name, recipe_network(PUBLISHED).state_dict())
        assert read_card(tmp_path / name) is None
    assert main(["info", "--model", str(tmp_path / "plain.pth")]) == 0
    output = capsys.readouterr().out
    for words in ("no model card", "channels: 128", "heads: 4", "card_id 3, deck_id 4, ", "parameters: 2,762,884"):
        assert words in output
    assert main(["info", "--model", str(tmp_path / "plain.pth"), "--json"]) == 0
    network = json.loads(capsys.readouterr().out)["network"]
    assert (network["heads"], network["layers"]["user_id"], network["parameters"]) == (4, 4, 2_762_884)
    assert CARD not in read_metadata(tmp_path / "plain.pth")


NESTED = '{"a": {"b": ' + "[" * 100_000 + "]" * 100_000 + "}}"


@pytest.mark.parametrize("text", ["{", "[]", '"text"', '{"a": 1}', '{"a": {"b": ["c"]}}', NESTED])
def test_a_damaged_card_is_refused(weights: Path, text: str) -> None:
    write_weights(weights, recipe_network(PUBLISHED).state_dict(), {CARD: text})
    with pytest.raises(CheckpointError, match="card is damaged"):
        read_card(weights)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_card(tmp_path / "none.safetensors")
