"""The commands that are killed."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.kills import inputs
from bench.kills.inputs import FEW, SIZE, USERS, WEIGHTS


@dataclass(frozen=True)
class Subject:
    """A command.

    Attributes:
        name: The name in the figures.
        command: The command line for a folder of inputs and the folder to write, which has a parent of its own.
        has_workers: Whether it has worker processes.
        is_shared: Whether torchrun starts several processes of it, and adds a traceback of its own when one ends.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    has_workers: bool = True
    is_shared: bool = False


def _keys(given: Path, out: Path) -> list[str]:
    return _configured("rwkv.find_equalize_test_reviews", out, _users(given) | _key_database(out / "keys_db"))


def _preprocessing(given: Path, out: Path) -> list[str]:
    store = {"LMDB_PATH": str(out / "store_db"), "LMDB_SIZE": SIZE, "MAX_BATCH_SIZE": inputs.SEGMENT_ROWS}
    return _configured("rwkv.data_processing", out, _users(given) | _key_database(given / "keys") | store)


def _training(given: Path, out: Path) -> list[str]:
    return _configured("rwkv.train_rwkv", out, _training_keys(given, out))


def _ranks(given: Path, out: Path) -> list[str]:
    """Training in two processes: on two GPUs through NCCL, or else on the CPU."""
    on_gpus = {"DEVICE": "cuda", "DTYPE": "bfloat16"} if torch.cuda.device_count() > 1 else {}
    keys = _training_keys(given, out) | {"EPOCHS": 0.5} | on_gpus
    python, *command = _configured("rwkv.train_rwkv", out, keys)
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command]


def _training_keys(given: Path, out: Path) -> dict[str, object]:
    keys: dict[str, object] = {
        "TRAIN_USERS_START": 1,
        "TRAIN_USERS_END": FEW - 2,
        "VALIDATE_USERS_START": FEW - 1,
        "VALIDATE_USERS_END": FEW,
        "TRAIN_DATASET_LMDB_PATH": str(given / "segments"),
        "TRAIN_DATASET_LMDB_SIZE": SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(given / "store"),
        "VALIDATE_DATASET_LMDB_SIZE": SIZE,
        "MAX_TRAIN_GLOBAL_LEN": inputs.STEP_ROWS,
        "CHANNELS": inputs.CHANNELS,
        "HEADS": inputs.HEADS,
        "LAYERS": inputs.LAYERS,
        "TRAIN_MODE": "WS",
        "WARMUP_STEPS": 2,
        "EPOCHS": 2,
        "PEAK_LR": 1e-3,
        "NUM_FETCH_PROCESSES": 2,
        "SAVE_MODEL_FOLDER": str(out),
        "SAVE_MODEL_PREFIX": "p",
    }
    return keys | _ON_ONE_CORE


def _evaluation(given: Path, out: Path) -> list[str]:
    keys: dict[str, object] = {
        "FILE_AHEAD": "RWKV",
        "FILE_IMM": "RWKV-P",
        "MODEL_PATH": str(given / WEIGHTS),
        "DATASET_LMDB_PATH": str(given / "store"),
        "DATASET_LMDB_SIZE": SIZE,
        "NUM_FETCH_PROCESSES": 2,
        "USER_START": 1,
        "USER_END": FEW,
        "RAW": True,
        "RAW_DB_PATH": str(out / "weights_db"),
        "RAW_DB_SIZE": SIZE,
        "RESULT_FOLDER": str(out / "result"),
        "RAW_FOLDER": str(out / "raw"),
    }
    return _configured("rwkv.get_result", out, keys | _key_database(given / "keys") | _ON_ONE_CORE)


def _save(given: Path, out: Path) -> list[str]:
    paths = (given / inputs.LONG_DATA, given / WEIGHTS, out / "state.rwkv")
    return [sys.executable, "-m", "bench.kills.save_states", *map(str, paths)]


def _import(given: Path, out: Path) -> list[str]:
    files = sorted(map(str, given.glob("*.csv")))
    return [sys.executable, "-m", "rwkv.cli", "import", *files, "--timezone", "UTC", "--out", str(out)]


_ON_ONE_CORE: dict[str, object] = {"DEVICE": "cpu", "DTYPE": "float", "THREADS": 1}

SUBJECTS = (
    Subject("keys", _keys),
    Subject("preprocessing", _preprocessing),
    Subject("training", _training),
    Subject("ranks", _ranks, is_shared=True),
    Subject("evaluation", _evaluation),
    Subject("save", _save, has_workers=False),
    Subject("import", _import, has_workers=False),
)


def _users(given: Path) -> dict[str, object]:
    return {"DATA_PATH": str(given / "data"), "USER_START": 1, "USER_END": USERS, "PROCESSES": 2}


def _key_database(path: Path) -> dict[str, object]:
    return {"LABEL_FILTER_LMDB_PATH": str(path), "LABEL_FILTER_LMDB_SIZE": SIZE}


def _configured(module: str, out: Path, keys: dict[str, object]) -> list[str]:
    """The command line of a command with a configuration file, which is written beside `out`."""
    config = out.parent / "config.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    return [sys.executable, "-m", "bench.kills.often", module, "--config", str(config)]
