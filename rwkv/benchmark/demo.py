"""A whole benchmark in a few minutes: simulated learners, keys, stores, training, evaluation, one user."""

import json
import os
import sys
from pathlib import Path

from rwkv.benchmark.demo_table import DemoTable, compare_demo_users
from rwkv.benchmark.evaluate import evaluate
from rwkv.benchmark.find_keys import find_keys
from rwkv.benchmark.process_data import process_data
from rwkv.benchmark.simulate import simulate
from rwkv.benchmark.single_user import run_single_user
from rwkv.benchmark.stages import label_filter_keys, last_checkpoint, must_succeed, write_config
from rwkv.benchmark.train import train
from rwkv.collection.chosen_model import demo_model
from rwkv.config import (
    EvaluateConfig,
    FindKeysConfig,
    ProcessDataConfig,
    RecurrentConfig,
    TrainConfig,
)
from rwkv.errors import InputError
from rwkv.locks import only_writer_in
from rwkv.model.card import CARD, DEMO, SHIPPED, TRAINED_BY
from rwkv.model.checkpoint import read_weights, write_weights
from rwkv.runtime import log

# The learners of this seed have recall that varies strongly over time, so a short training already shows.
SEED = 29
USERS, REVIEWS = 72, 1000
# The first learners are held out for validation and evaluation, and one of them is predicted review by review.
HELD_OUT = 12
VALIDATED = 2
WALKED = 3

_MAP_SIZE = 1_000_000_000
# One thread is nearly as fast on such small batches, and robust on a busy machine.
_THREADS = 1
_SEGMENT_ROWS = 1024
_ROWS_A_STEP = 2048
_PEAK_LR = 3e-3
_WARMUP_STEPS = 20
_STABLE_EPOCHS, _DECAY_EPOCHS = 5, 4
# Half of the published width: more than twice the steps in the same time.
_CHANNELS = 64
_LEARNERS = f"{USERS - HELD_OUT} simulated learners with {REVIEWS:,} reviews each on average"
_CARD = {"weights": {TRAINED_BY: DEMO, "trained on": _LEARNERS}}

Keys = dict[str, object]


def demo(out: Path) -> DemoTable:
    """Run the demo in the folder `out`, or continue it.

    Raises:
        RwkvError: A step failed.
        BusyError: Another demo is running in the folder.
        InputError: The folder's name is not UTF-8.
    """
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        what = "The folder's name is not UTF-8, the encoding of the demo's configuration files."
        raise InputError(what, where=str(out), hint="choose another folder") from error
    with only_writer_in(out, "another folder"):
        return _demo(out)


def _demo(out: Path) -> DemoTable:
    configs = out / "configs"
    configs.mkdir(parents=True, exist_ok=True)

    _say("1. Simulated learners")
    _must(simulate(USERS, REVIEWS, SEED, out / "dataset"))

    _say("2. The reviews that count")
    keys = write_config(configs / "find_equalize_test_reviews.toml", FindKeysConfig, _of_users(out) | {"PROCESSES": 2})
    _must(find_keys(keys))

    _say("3. Stores: short segments for training, whole histories for evaluation")
    for kind, rows in (("train", _SEGMENT_ROWS), ("test", 2**21)):
        cut = {"LMDB_PATH": str(out / f"{kind}_db"), "LMDB_SIZE": _MAP_SIZE, "MAX_BATCH_SIZE": rows, "PROCESSES": 2}
        store = write_config(configs / f"data_processing_{kind}.toml", ProcessDataConfig, _of_users(out) | cut)
        _must(process_data(store))

    _say("4. Training: warm-up and constant rate (WS), then decay (D)")
    stable = write_config(configs / "train_rwkv_stable.toml", TrainConfig, _training(out, "WS", _STABLE_EPOCHS))
    _must(train(stable))
    start = {"LOAD_MODEL": True, "LOAD_MODEL_FOLDER": str(out / "pretrain"), "LOAD_MODEL_NAME": _last(out, "WS").stem}
    decay = write_config(configs / "train_rwkv_decay.toml", TrainConfig, _training(out, "D", _DECAY_EPOCHS) | start)
    _must(train(decay))
    write_weights(demo_model(out), read_weights(_last(out, "D")), {CARD: json.dumps(_CARD)})

    _say(f"5. Evaluation on learners {VALIDATED + 1} to {HELD_OUT}, who are not in the training data")
    model = {"MODEL_PATH": str(_last(out, "D")), "DEVICE": "cpu", "DTYPE": "float", "THREADS": _THREADS}
    evaluation = write_config(configs / "get_result.toml", EvaluateConfig, _evaluation(out) | model)
    _must(evaluate(evaluation))
    package = {"MODEL_PATH": str(SHIPPED), "FILE_AHEAD": "RWKV-package", "FILE_IMM": "RWKV-P-package"}
    packaged = write_config(configs / "get_result_package.toml", EvaluateConfig, _evaluation(out) | model | package)
    _must(evaluate(packaged))

    _say(f"6. Learner {WALKED} again, review by review")
    one = {"USER": WALKED, "DATA_PATH": str(out / "dataset")} | label_filter_keys(out, _MAP_SIZE) | model
    _must(run_single_user(write_config(configs / "run_as_rnn.toml", RecurrentConfig, one)))

    _say("7. Comparison")
    return compare_demo_users(out / "dataset", {"": evaluation, ", package": packaged})


def _must(exit_code: int) -> None:
    """Stop the demo if a step failed."""
    must_succeed(exit_code, "A step of the demo failed.")


def _of_users(out: Path) -> Keys:
    return {"DATA_PATH": str(out / "dataset"), "USER_START": 1, "USER_END": USERS} | label_filter_keys(out, _MAP_SIZE)


def _training(out: Path, mode: str, epochs: int) -> Keys:
    return {
        "TRAIN_USERS_START": HELD_OUT + 1,
        "TRAIN_USERS_END": USERS,
        "VALIDATE_USERS_START": 1,
        "VALIDATE_USERS_END": VALIDATED,
        "TRAIN_DATASET_LMDB_PATH": str(out / "train_db"),
        "TRAIN_DATASET_LMDB_SIZE": _MAP_SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(out / "test_db"),
        "VALIDATE_DATASET_LMDB_SIZE": _MAP_SIZE,
        "MAX_TRAIN_GLOBAL_LEN": _ROWS_A_STEP,
        "TRAIN_MODE": mode,
        "WARMUP_STEPS": _WARMUP_STEPS,
        "EPOCHS": epochs,
        "PEAK_LR": _PEAK_LR,
        "SAVE_MODEL_FOLDER": str(out / "pretrain"),
        "SAVE_MODEL_PREFIX": f"demo_{mode}",
        "DEVICE": "cpu",
        "DTYPE": "float",
        "THREADS": _THREADS,
        "CHANNELS": _CHANNELS,
    }


def _evaluation(out: Path) -> Keys:
    return {
        "FILE_AHEAD": "RWKV",
        "FILE_IMM": "RWKV-P",
        "DATASET_LMDB_PATH": str(out / "test_db"),
        "DATASET_LMDB_SIZE": _MAP_SIZE,
        "USER_START": VALIDATED + 1,
        "USER_END": HELD_OUT,
        "RAW": True,
        "RAW_DB_PATH": str(out / "raw" / "result_db"),
        "RESULT_FOLDER": str(out / "result"),
        "RAW_FOLDER": str(out / "raw"),
    } | label_filter_keys(out, _MAP_SIZE)


def _last(out: Path, mode: str) -> Path:
    return last_checkpoint(out / "pretrain", f"demo_{mode}")


def _say(text: str) -> None:
    log.info("--- %s", text)


def what_next(out: Path) -> str:
    """The files of a demo and possible next steps, in words."""
    return f"""
Files
  {out}/configs     the configuration of each command, to rerun or change
  {out}/dataset     the learners, in the layout of anki-revlogs-10k, with true recall probabilities in truth/
  {out}/pretrain    checkpoints and training logs; the final weights are {demo_model(out)}
  {out}/result      metrics by user; {out}/raw has every prediction

Next steps{_activation()}
  rwkv predict {out}/dataset --user {WALKED} --model {demo_model(out)}     predict every card of a learner
  python -m rwkv.run_as_rnn --config {out}/configs/run_as_rnn.toml     every review, with VERBOSE = true
  rwkv simulate --users 1000 --reviews 2000 --out more                 simulate more learners
  python -m rwkv.find_equalize_test_reviews --config rwkv/find_equalize_test_reviews_config.toml
                                                                       use the real dataset, see the README"""


def _activation() -> str:
    """The step that lets the shell find `rwkv`, where it does not, as after `make demo`; else ""."""
    programs = Path(sys.executable).parent
    if str(programs) in os.environ.get("PATH", "").split(os.pathsep) or not (programs / "activate").is_file():
        return ""
    return f"\n  . {os.path.relpath(programs / 'activate'):<67}first, so that this shell finds the commands"
