"""A network of another size, by the same commands: trained, continued, evaluated, and run in the engine."""

import ast
import json
from pathlib import Path

import pytest
import torch

import rwkv.run_as_rnn
from rwkv.cli import main
from rwkv.model.checkpoint import load_network
from rwkv.native.library import is_built
from rwkv.ops.backend import Kernels, _chosen
from tests.benchmark.evaluation import AHEAD, IMM, Evaluation
from tests.benchmark.training import Training
from tests.benchmark.workspace import Workspace, assert_said
from tests.collection.people import make_person

CPU = torch.device("cpu")
# Heads of 32 channels run on the kernels, heads of 24 in the plain form.
SIZES = {
    "kernels": {"CHANNELS": 32, "LAYERS": [1, 1, 1, 1, 2]},
    "plain": {"CHANNELS": 48, "HEADS": 2, "LAYERS": [1, 2, 1, 1, 1]},
}
VALIDATED = 3
# Three steps of the training's four.
EPOCHS = 0.75
# Both forms sum in float32, each in its own order; a metric is the mean of some 20 predictions.
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_from_training_to_predictions(
    name: str, training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = SIZES[name]
    _chosen.cache_clear()  # or an earlier test has heard the notice
    assert training.run(EPOCHS=EPOCHS, **sizes) == 0
    is_plain = name == "plain" and is_built()
    assert ("so this runs in PyTorch's own operations" in capsys.readouterr().err) == is_plain
    model = training.out / "p_3.pth"
    network = load_network(model, CPU, torch.float32)
    assert (network.spec.channels, network.spec.heads) == (sizes["CHANNELS"], sizes.get("HEADS", 1))
    assert [stream.layers for stream in network.spec.streams] == sizes["LAYERS"]
    assert (network.backend.kernels is Kernels.NATIVE) == (name == "kernels" and is_built())

    evaluation = Evaluation(training.stores, tmp_path)
    store = str(training.stores / "test_db")
    capsys.readouterr()
    assert evaluation.run(MODEL_PATH=str(model), DATASET_LMDB_PATH=store, USER_START=VALIDATED, USER_END=VALIDATED) == 0
    assert capsys.readouterr().err.count("does not state the size of its network") == 1
    results = {file: evaluation.lines("result", file)[VALIDATED]["metrics"] for file in (AHEAD, IMM)}

    capsys.readouterr()
    keys = {"USER": VALIDATED, "MODEL_PATH": str(model), "DEVICE": "cpu", "DTYPE": "float", "THREADS": 1}
    keys |= {"USER_START": None, "USER_END": None}
    assert rwkv.run_as_rnn.main(["--config", Workspace(training.stores).write_config(keys)]) == 0
    printed = capsys.readouterr().out.splitlines()
    for file, metrics in results.items():
        line = ast.literal_eval(printed[printed.index(f"{file}:") + 1])
        assert line["metrics"]["LogLoss"] == pytest.approx(metrics["LogLoss"], abs=TOLERANCE)

    make_person(tmp_path / "mine", reviews=40)
    assert main(["predict", str(tmp_path / "mine"), "--model", str(model), "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)["cards"]
    assert cards
    assert all(0 < card["p_now"] < 1 for card in cards if card["p_now"] is not None)


def test_training_loads_only_weights_of_its_own_size(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = SIZES["kernels"]
    assert training.run(EPOCHS=EPOCHS, **sizes) == 0
    load = {"LOAD_MODEL": True, "LOAD_MODEL_FOLDER": str(training.out), "LOAD_MODEL_NAME": "p_3"}
    assert training.run(EPOCHS=EPOCHS, SAVE_MODEL_PREFIX="next", **load, **sizes) == 0
    capsys.readouterr()
    assert training.run(EPOCHS=EPOCHS, SAVE_MODEL_PREFIX="published", **load) == 2
    assert_said(capsys, "p_3.pth", "other sizes", "channels 32", "channels 128", "CHANNELS, HEADS and LAYERS")
    assert training.run(EPOCHS=EPOCHS, **sizes | {"HEADS": 2}) == 2
    assert_said(capsys, "another configuration", "HEADS = 2", "HEADS = null")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"HEADS": 3}, ["HEADS", "128 channels are not a multiple of 3 heads"]),
        ({"CHANNELS": 40, "HEADS": 3}, ["40 channels are not a multiple of 3 heads"]),
        ({"CHANNELS": 8}, ["CHANNELS = 8", "16 to 512"]),
        ({"LAYERS": [1, 2]}, ["LAYERS = [1, 2]", "a list of 5 values, for card_id, deck_id"]),
        ({"LAYERS": [1, 2, 0, 1, 1]}, ["LAYERS", "from 1 to 8"]),
    ],
)
def test_invalid_sizes_are_refused(
    training: Training, capsys: pytest.CaptureFixture[str], sizes: dict[str, object], words: list[str]
) -> None:
    assert training.run(**sizes) == 2
    assert_said(capsys, *words)
