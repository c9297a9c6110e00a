"""Configurations: the shipped files follow spec 8; every wrong value is named in an error."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TypeVar

import pytest

import rwkv
from rwkv.config import (
    Config,
    EvaluateConfig,
    FindKeysConfig,
    ProcessDataConfig,
    RecurrentConfig,
    TrainConfig,
)
from rwkv.config_file import as_keys, load_config, parse_config
from rwkv.errors import ConfigError

FOLDER = Path(rwkv.__file__).parent
COMMANDS = (FindKeysConfig, ProcessDataConfig, TrainConfig, EvaluateConfig, RecurrentConfig)

# --- The shipped files, as spec 8 lists them

DATA = {"DATA_PATH": "../anki-revlogs-10k"}
KEYS = {"LABEL_FILTER_LMDB_PATH": "label_filter_db", "LABEL_FILTER_LMDB_SIZE": 10_000_000_000}
SHORT = {"LABEL_FILTER_LMDB_SIZE": 12_000_000_000, "LABEL_FILTER_KEY_PREFIX": "short_secs_"}
GPU = {"DEVICE": "cuda", "DTYPE": "bfloat16"}

FIND_KEYS = DATA | KEYS | {"ALGO": "FSRS-6", "USER_START": 1, "USER_END": 10_000, "PROCESSES": 9}
PROCESS_TRAIN = (
    (DATA | KEYS | GPU)
    | {"LMDB_PATH": "train_db", "LMDB_SIZE": 205_000_000_000, "USER_START": 1, "USER_END": 10_000}
    | {"MAX_BATCH_SIZE": 65_536, "RWKV_SUBMODULES": ["card_id", "note_id", "deck_id", "preset_id", "user_id"]}
)
PROCESS_TEST = PROCESS_TRAIN | {"LMDB_PATH": "test_db", "LMDB_SIZE": 195_000_000_000, "MAX_BATCH_SIZE": 2_097_152}
PROCESS_TRAIN_SHORT = PROCESS_TRAIN | SHORT | {"LMDB_PATH": "train_db_short_secs"}
PROCESS_TEST_SHORT = PROCESS_TEST | SHORT | {"LMDB_PATH": "test_db_short_secs"}
TRAIN = (
    (KEYS | GPU)
    | {"TRAIN_USERS_START": 5000, "TRAIN_USERS_END": 10_000, "VALIDATE_USERS_START": 1, "VALIDATE_USERS_END": 100}
    | {"TRAIN_DATASET_LMDB_PATH": "train_db", "TRAIN_DATASET_LMDB_SIZE": 205_000_000_000}
    | {"VALIDATE_DATASET_LMDB_PATH": "test_db", "VALIDATE_DATASET_LMDB_SIZE": 195_000_000_000}
    | {"NUM_FETCH_PROCESSES": 10, "MAX_TRAIN_GLOBAL_LEN": 66_000, "TRAIN_MODE": "WS", "STEP_OFFSET": 1}
    | {"WARMUP_STEPS": 20_000, "EPOCHS": 1_000_000, "PEAK_LR": 7e-4, "LOAD_MODEL": False}
    | {"LOAD_MODEL_FOLDER": "pretrain/rwkv", "LOAD_MODEL_NAME": "RWKV_trained_on_5000_10000"}
    | {"SAVE_MODEL_FOLDER": "pretrain/rwkv/train", "SAVE_MODEL_PREFIX": "rwkv_test"}
    | {"USE_WANDB": True, "WANDB_PROJECT_NAME": "rwkv", "WANDB_RESUME": False, "WANDB_RESUME_ID": ""}
)
TRAIN_SHORT = (
    TRAIN
    | {"TRAIN_DATASET_LMDB_PATH": "train_db_short_secs", "VALIDATE_DATASET_LMDB_PATH": "test_db_short_secs"}
    | {"LOSS_MODE": "equalize", "SAVE_MODEL_PREFIX": "rwkv_short_secs_equalize"}
)
EVALUATE = (
    (KEYS | GPU)
    | {"FILE_AHEAD": "RWKV", "FILE_IMM": "RWKV-P", "MODEL_PATH": "pretrain/RWKV_trained_on_5000_10000.pth"}
    | {"DATASET_LMDB_PATH": "test_db", "DATASET_LMDB_SIZE": 195_000_000_000}
    | {"RAW": False, "RAW_DB_PATH": "raw/result_db", "RAW_DB_SIZE": 3_000_000_000}
    | {"USER_START": 1, "USER_END": 4999, "NUM_FETCH_PROCESSES": 10}
)
EVALUATE_SHORT = EVALUATE | SHORT | {"FILE_AHEAD": "RWKV-short-secs", "FILE_IMM": "RWKV-P-short-secs"}
SECOND_HALF = {"MODEL_PATH": "pretrain/RWKV_trained_on_101_4999.pth", "USER_START": 5000, "USER_END": 10_000}
SINGLE_USER = (
    (DATA | KEYS)
    | {"USER": 1, "MODEL_PATH": "pretrain/RWKV_trained_on_5000_10000.pth"}
    | {"DEVICE": "cpu", "DTYPE": "float", "VERBOSE": True}
)

SHIPPED: dict[str, tuple[type[Config], dict[str, object]]] = {
    "find_equalize_test_reviews_config": (FindKeysConfig, FIND_KEYS),
    "find_equalize_test_reviews_config_short_secs": (FindKeysConfig, FIND_KEYS | SHORT),
    "data_processing_config_train": (ProcessDataConfig, PROCESS_TRAIN),
    "data_processing_config_test": (ProcessDataConfig, PROCESS_TEST),
    "data_processing_config_train_short_secs": (ProcessDataConfig, PROCESS_TRAIN_SHORT),
    "data_processing_config_test_short_secs": (ProcessDataConfig, PROCESS_TEST_SHORT),
    "train_rwkv_config": (TrainConfig, TRAIN),
    "train_rwkv_config_short_secs_equalize": (TrainConfig, TRAIN_SHORT),
    "get_result_config": (EvaluateConfig, EVALUATE),
    "get_result_config_short_secs_1_4999": (EvaluateConfig, EVALUATE_SHORT),
    "get_result_config_short_secs_5000_10000": (EvaluateConfig, EVALUATE_SHORT | SECOND_HALF),
    "run_as_rnn_config": (RecurrentConfig, SINGLE_USER),
    "run_as_rnn_config_short_secs": (RecurrentConfig, SINGLE_USER | SHORT),
}
# A complete table for every command.
TABLES: dict[type[Config], dict[str, object]] = {cls: table for cls, table in reversed(SHIPPED.values())}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_complete(name: str) -> None:
    cls, expected = SHIPPED[name]
    path = FOLDER / f"{name}.toml"
    assert tomllib.loads(path.read_text()) == expected
    keys = as_keys(load_config(path, cls))
    expected = {key: "float32" if value == "float" else value for key, value in expected.items()}
    assert {key: keys[key] for key in expected} == expected


def test_no_other_files_are_shipped() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(SHIPPED)


AnyConfig = TypeVar("AnyConfig", bound=Config)


def parse(cls: type[AnyConfig], **changes: object) -> AnyConfig:
    """A command's table with changes; None takes a key away."""
    table = {key: value for key, value in (TABLES[cls] | changes).items() if value is not None}
    return parse_config(table, cls, "here.toml")


def problems(cls: type[Config], **changes: object) -> list[str]:
    """The lines of the error that a changed table leads to."""
    with pytest.raises(ConfigError) as caught:
        parse(cls, **changes)
    title, *lines, where, hint = (line.strip() for line in str(caught.value).splitlines())
    assert (title, where) == ("The configuration has errors:", "where: here.toml")
    assert hint.startswith("next: correct these keys")
    return lines


# --- What is given, and what its absence means


def test_values_have_the_types_of_their_fields() -> None:
    train = parse(TrainConfig, EPOCHS=2, DTYPE="float", LOAD_MODEL_FOLDER="")
    assert (train.epochs, type(train.epochs)) == (2.0, float)
    assert (train.dtype, train.load_model_folder) == ("float32", Path())
    assert parse(RecurrentConfig).data_path == Path("../anki-revlogs-10k")
    assert parse(ProcessDataConfig).rwkv_submodules == ("card_id", "note_id", "deck_id", "preset_id", "user_id")


REQUIRED = {
    FindKeysConfig: "DATA_PATH USER_START USER_END",
    ProcessDataConfig: "DATA_PATH LMDB_PATH LMDB_SIZE MAX_BATCH_SIZE USER_START USER_END",
    TrainConfig: "TRAIN_USERS_START TRAIN_USERS_END VALIDATE_USERS_START VALIDATE_USERS_END TRAIN_DATASET_LMDB_PATH "
    "TRAIN_DATASET_LMDB_SIZE VALIDATE_DATASET_LMDB_PATH VALIDATE_DATASET_LMDB_SIZE TRAIN_MODE WARMUP_STEPS EPOCHS "
    "PEAK_LR SAVE_MODEL_FOLDER SAVE_MODEL_PREFIX DEVICE DTYPE",
    EvaluateConfig: "FILE_AHEAD FILE_IMM MODEL_PATH DEVICE DTYPE DATASET_LMDB_PATH DATASET_LMDB_SIZE "
    "USER_START USER_END",
    RecurrentConfig: "USER DATA_PATH MODEL_PATH DEVICE DTYPE",
}
DEFAULTS: dict[type[Config], dict[str, object]] = {
    FindKeysConfig: {"ALGO": "FSRS-6", "SHORT": False, "SECS": False, "PROCESSES": 1, "USER_IDS": None},
    ProcessDataConfig: {"MISSING_NOTES": "own", "PROCESSES": 1},
    TrainConfig: {"LOSS_MODE": "all", "STEP_OFFSET": 1, "MAX_TRAIN_GLOBAL_LEN": 66_000, "LOAD_MODEL": False}
    | {"RESUME": True, "SEED": 1234, "THREADS": 0, "USE_WANDB": False, "NUM_FETCH_PROCESSES": 1},
    EvaluateConfig: {"RAW": False, "RAW_DB_PATH": "raw/result_db", "RESULT_FOLDER": "result", "RAW_FOLDER": "raw"},
    RecurrentConfig: {"VERBOSE": False, "MISSING_NOTES": "own", "THREADS": 0},
}


@pytest.mark.parametrize("cls", COMMANDS)
def test_other_keys_may_be_left_out(cls: type[Config]) -> None:
    required = REQUIRED[cls].split()
    keys = as_keys(parse_config({key: TABLES[cls][key] for key in required}, cls, "here.toml"))
    default = DEFAULTS[cls] | KEYS | {"LABEL_FILTER_KEY_PREFIX": ""}
    assert {key: keys[key] for key in default} == default
    missing = problems(cls, **dict.fromkeys(TABLES[cls]))
    assert {line.partition(" is missing: expected ")[0] for line in missing} == {*required}


def test_users_are_a_range_or_a_list() -> None:
    for cls in (FindKeysConfig, ProcessDataConfig, EvaluateConfig):
        assert list(parse(cls, USER_START=0, USER_END=2).users) == [0, 1, 2]
        assert list(parse(cls, USER_START=3, USER_END=3).users) == [3]
        assert list(parse(cls, USER_IDS=[9, 4]).users) == [9, 4]
        assert list(parse(cls, USER_IDS=[9, 4], USER_START=None, USER_END=None).users) == [9, 4]
    train = parse(TrainConfig)
    assert (train.train_users, train.validate_users) == (range(5000, 10_001), range(1, 101))


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('DATA_PATH = "d"\nUSER_START = 1\nUSER_END = 2\nSHORT = true\n')
    config = load_config(path, FindKeysConfig, secs=True)
    assert (config.short, config.secs) == (True, True)
    with pytest.raises(ConfigError, match="SEX: unknown key; the nearest key is SECS"):
        load_config(path, FindKeysConfig, sex=True)


@pytest.mark.parametrize("cls", COMMANDS)
def test_configurations_cannot_be_changed(cls: type[Config]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse(cls).label_filter_key_prefix = "other"  # type: ignore[misc]


@pytest.mark.parametrize("cls", COMMANDS)
def test_a_configuration_survives_storing(cls: type[Config]) -> None:
    config = parse(cls)
    stored = json.loads(json.dumps(as_keys(config)))
    assert stored == as_keys(config)
    assert parse_config({key: value for key, value in stored.items() if value is not None}, cls, "stored") == config


def test_a_path_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = parse(TrainConfig, TRAIN_DATASET_LMDB_PATH="~/train_db", SAVE_MODEL_FOLDER="~", LOAD_MODEL_FOLDER="a/~")
    assert config.train_dataset_lmdb_path == Path("/home/someone/train_db")
    assert (config.save_model_folder, config.load_model_folder) == (Path("/home/someone"), Path("a/~"))
    nobody = "~nobody-of-this-name/x"
    assert parse(FindKeysConfig, DATA_PATH=nobody).data_path == Path(nobody)
