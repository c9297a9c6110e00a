"""A network of another size, from the same commands: trained, evaluated, and run in the engine."""

import json
from pathlib import Path

import pytest

from tests.benchmark.training import Training
from tests.benchmark.workspace import SIZE

# A head of 32 channels runs on the kernels, one of 24 does not.
SMALL = {"CHANNELS": 32, "LAYERS": [1, 1, 1, 1, 2]}
ODD = {"CHANNELS": 48, "HEADS": 2, "LAYERS": [1, 1, 1, 1, 1]}


@pytest.fixture(params=[SMALL, ODD], ids=["kernels", "plain"])
def sizes(request: pytest.FixtureRequest) -> dict[str, object]:
    return request.param


def common(training: Training, model: Path) -> list[str]:
    keys = {
        "MODEL_PATH": model,
        "LABEL_FILTER_LMDB_PATH": training.stores / "keys_db",
        "DATASET_LMDB_PATH": training.stores / "test_db",
        "RESULT_FOLDER": training.out,
        "DATA_PATH": training.stores / "dataset",
    }
    settings = {key: json.dumps(str(path)) for key, path in keys.items()}
    settings |= {"LABEL_FILTER_LMDB_SIZE": str(SIZE), "DATASET_LMDB_SIZE": str(SIZE), "DEVICE": "cpu", "THREADS": "1"}
    return [
        f"{key} = {value}" if value.startswith('"') or value.isdigit() else f'{key} = "{value}"'
        for key, value in settings.items()
    ]


def test_from_training_to_predictions(
    training: Training, sizes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.run(EPOCHS=0.75, **sizes) == 0
