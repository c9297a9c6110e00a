"""Which model a command takes, and that one of the demo always says so."""

from pathlib import Path

import pytest

from rwkv.collection.chosen_model import DEMO_NOTICE, SHIPPED_NOTICE, choose_model, demo_model
from rwkv.errors import CheckpointError, InputError
from rwkv.model.card import SHIPPED
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.networks import recipe_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    write_weights(path, recipe_network(PUBLISHED).state_dict())
    return path


def make_demo(folder: Path, weights: Path) -> Path:
    """What a demo leaves, as far as it matters here."""
    (folder / "dataset").mkdir(parents=True)
    (folder / "dataset" / "simulated.json").write_text("{}")
    demo_model(folder).write_bytes(weights.read_bytes())
    (folder / "pretrain").mkdir()
    checkpoint = folder / "pretrain" / "demo_D_9.pth"
    checkpoint.write_bytes(weights.read_bytes())
    return checkpoint


def test_a_model_of_ones_own_has_no_notice(weights: Path) -> None:
    model = choose_model(weights)
    assert (model.path, model.notice) == (weights, None)
    assert not any(weight.requires_grad for weight in model.network.parameters())


def test_without_one_the_weights_of_the_package() -> None:
    model = choose_model(None)
    assert (model.path, model.notice) == (SHIPPED, SHIPPED_NOTICE)


def test_weights_of_a_demo_say_so_also_when_they_are_named(weights: Path, tmp_path: Path) -> None:
    checkpoint = make_demo(tmp_path / "elsewhere", weights)
    assert choose_model(checkpoint).notice == DEMO_NOTICE
    assert choose_model(demo_model(tmp_path / "elsewhere")).notice == DEMO_NOTICE


def test_a_package_without_its_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwkv.collection.chosen_model.SHIPPED", tmp_path / "rwkv.safetensors")
    with pytest.raises(InputError, match="--model"):
        choose_model(None)
    with pytest.raises(CheckpointError, match="file of weights does not exist"):
        choose_model(Path("nowhere.pth"))
