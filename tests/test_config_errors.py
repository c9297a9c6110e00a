"""What is wrong with the values of a configuration: every problem is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.config import (
    Config,
    EvaluateConfig,
    FindKeysConfig,
    ProcessDataConfig,
    RecurrentConfig,
    TrainConfig,
)
from rwkv.config_file import as_keys, parse_config
from rwkv.errors import ConfigError
from tests.test_config import COMMANDS, TABLES, parse, problems

WRONG: list[tuple[type[Config], str, object]] = [
    (FindKeysConfig, "DATA_PATH", 3),
    (FindKeysConfig, "DATA_PATH", "a\0b"),
    (FindKeysConfig, "LABEL_FILTER_LMDB_PATH", ""),
    (FindKeysConfig, "LABEL_FILTER_LMDB_SIZE", 0),
    (FindKeysConfig, "LABEL_FILTER_LMDB_SIZE", 10**30),
    (FindKeysConfig, "LABEL_FILTER_KEY_PREFIX", 1),
    (FindKeysConfig, "SHORT", 1),
    (FindKeysConfig, "SECS", "true"),
    (FindKeysConfig, "USER_START", True),
    (FindKeysConfig, "USER_START", -1),
    (FindKeysConfig, "USER_END", 10.0),
    (FindKeysConfig, "USER_IDS", []),
    (FindKeysConfig, "USER_IDS", 5),
    (FindKeysConfig, "USER_IDS", [1, 1]),
    (FindKeysConfig, "USER_IDS", [1, "2"]),
    (FindKeysConfig, "USER_IDS", [[1]]),
    (FindKeysConfig, "PROCESSES", 0),
    (FindKeysConfig, "ALGO", ""),
    (ProcessDataConfig, "MAX_BATCH_SIZE", 1),
    (ProcessDataConfig, "MISSING_NOTES", "other"),
    (ProcessDataConfig, "DEVICE", 0),
    (ProcessDataConfig, "RWKV_SUBMODULES", "card_id"),
    (TrainConfig, "DEVICE", "cuda:"),
    (TrainConfig, "DEVICE", "CUDA"),
    (TrainConfig, "DTYPE", "float16"),
    (TrainConfig, "DTYPE", ["float"]),
    (TrainConfig, "EPOCHS", 0),
    (TrainConfig, "EPOCHS", float("inf")),
    (TrainConfig, "PEAK_LR", float("nan")),
    (TrainConfig, "PEAK_LR", True),
    (TrainConfig, "PEAK_LR", "7e-4"),
    (TrainConfig, "WARMUP_STEPS", -1),
    (TrainConfig, "WARMUP_STEPS", 1e3),
    (TrainConfig, "STEP_OFFSET", -1),
    (TrainConfig, "TRAIN_MODE", "ws"),
    (TrainConfig, "LOSS_MODE", "none"),
    (TrainConfig, "NUM_FETCH_PROCESSES", -1),
    (TrainConfig, "SAVE_MODEL_PREFIX", ""),
    (TrainConfig, "SAVE_MODEL_PREFIX", "run_optim"),
    (TrainConfig, "SEED", 2**64),
    (TrainConfig, "THREADS", -1),
    (TrainConfig, "THREADS", 2**31 - 1),
    (RecurrentConfig, "PROCESSES", 1025),
    (EvaluateConfig, "FILE_AHEAD", ""),
    (EvaluateConfig, "RAW", {"a": 1}),
    (RecurrentConfig, "USER", "1"),
]


@pytest.mark.parametrize(("cls", "key", "value"), WRONG, ids=[f"{key}={value!r}" for _, key, value in WRONG])
def test_wrong_values_are_named(cls: type[Config], key: str, value: object) -> None:
    (line,) = problems(cls, **{key: value})
    shown = json.dumps(value)
    assert line.startswith(f"{key} = {shown}: expected ")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12", "mps", "xpu:1", "meta"])
def test_devices_of_torch_pass(device: str) -> None:
    assert parse(TrainConfig, DEVICE=device).device == device


@pytest.mark.parametrize(
    ("cls", "changes", "line"),
    [
        (FindKeysConfig, {"USER_END": 0}, "USER_END = 0: expected USER_START or a user after it (USER_START = 1)"),
        (
            TrainConfig,
            {"TRAIN_USERS_END": 4999},
            "TRAIN_USERS_END = 4999: expected TRAIN_USERS_START or a user after it (TRAIN_USERS_START = 5000)",
        ),
        (
            TrainConfig,
            {"VALIDATE_USERS_START": 101},
            "VALIDATE_USERS_END = 100: expected VALIDATE_USERS_START or a user after it (VALIDATE_USERS_START = 101)",
        ),
        (
            TrainConfig,
            {"LOAD_MODEL": True, "LOAD_MODEL_NAME": None},
            'LOAD_MODEL_NAME = "": expected the name of a model (LOAD_MODEL = true)',
        ),
        (
            RecurrentConfig,
            {"USER_IDS": [2, 3]},
            "USER = 1: expected a user number from 0 to 2147483647, or instead a list USER_IDS, or USER_START and "
            "USER_END (USER_IDS = [2, 3], USER_START is missing, USER_END is missing)",
        ),
        (EvaluateConfig, {"FILE_IMM": "RWKV"}, 'FILE_IMM = "RWKV": expected another name (FILE_AHEAD = "RWKV")'),
        (
            EvaluateConfig,
            {"RESULT_FOLDER": "raw/"},
            'RAW_FOLDER = "raw": expected another folder (RESULT_FOLDER = "raw")',
        ),
    ],
)
def test_keys_must_agree(cls: type[Config], changes: dict[str, object], line: str) -> None:
    assert problems(cls, **changes) == [line]


@pytest.mark.parametrize(
    "changes",
    [
        {"FILE_IMM": "./RWKV"},
        {"FILE_IMM": "x/../RWKV"},
        {"FILE_IMM": "../raw/RWKV"},
        {"RAW_FOLDER": "x/../result"},
    ],
)
def test_results_of_two_kinds_have_different_files(changes: dict[str, object]) -> None:
    (problem,) = problems(EvaluateConfig, **changes)
    assert "expected a name of another file" in problem


def test_all_problems_are_reported_at_once() -> None:
    changes = {"TRAIN_MOD": "WS", "TRAIN_MODE": None, "DTYPE": "half", "TRAIN_USERS_END": 1, "SEED": -1}
    lines = problems(TrainConfig, **changes)
    starts = ["TRAIN_MOD: unknown key", "TRAIN_MODE is", 'DTYPE = "half"', "SEED = -1", "TRAIN_USERS_END = 1"]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_long_values_are_cut() -> None:
    (line,) = problems(FindKeysConfig, SHORT="x" * 10_000)
    assert len(line) < 200


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("USER_STRAT", "USER_START"), ("data_path", "DATA_PATH"), ("LMDB_MAX_READER", "LMDB_MAX_READERS")],
)
def test_the_nearest_known_key_is_named(key: str, nearest: str) -> None:
    assert problems(FindKeysConfig, **{key: 1}) == [f"{key}: unknown key; the nearest key is {nearest}"]


@given(cls=st.sampled_from(COMMANDS), key=st.text(max_size=20), data=st.data())
def test_every_unknown_key_is_named(cls: type[Config], key: str, data: st.DataObject) -> None:
    """Also one that differs from a known one by a letter left out or too many."""
    known = data.draw(st.sampled_from(sorted(TABLES[cls])))
    at = data.draw(st.integers(0, len(known)))
    for misspelt in {key, known[:at] + known[at + 1 :], known[:at] + "Q" + known[at:]} - as_keys(parse(cls)).keys():
        with pytest.raises(ConfigError) as caught:
            parse_config(TABLES[cls] | {misspelt: 1}, cls, "here.toml")
        assert f"{misspelt}: unknown key; the nearest key is " in str(caught.value)


SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.dates(), st.times())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(cls=st.sampled_from(COMMANDS), value=VALUES, data=st.data())
def test_any_value_is_accepted_or_named_in_an_error(cls: type[Config], value: object, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(as_keys(parse(cls)))))
    try:
        parse_config(TABLES[cls] | {key: value}, cls, "here.toml")
    except ConfigError as error:
        assert f" {key} = " in str(error)  # noqa: PT017
