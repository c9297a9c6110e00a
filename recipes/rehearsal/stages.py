"""The stages of a rehearsal: simulated users, keys, two stores, training, evaluation."""

import argparse
import math

from recipes.rehearsal.figures import Figures
from rwkv.batches.plan import segment_places, training_groups
from rwkv.benchmark.databases import review_database
from rwkv.benchmark.evaluate import evaluate
from rwkv.benchmark.find_keys import find_keys
from rwkv.benchmark.process_data import process_data
from rwkv.benchmark.simulate import simulate
from rwkv.benchmark.stages import label_filter_keys, last_checkpoint, must_succeed, write_config
from rwkv.benchmark.train import train
from rwkv.config import EvaluateConfig, FindKeysConfig, ProcessDataConfig, TrainConfig
from rwkv.config_file import AnyConfig
from rwkv.data.revlogs import has_revlog, write_user
from rwkv.data.simulate import simulate_users
from rwkv.data.store import ReviewStore

# The standard deviation of the log number of reviews. With a median of 31,000 the mean is 72,000, and the 99th
# percentile 640,000, about as in the dataset.
_SPREAD = 1.3
# The mean of simulated users, of whom some end early, as a share of the wanted one.
_SHARE_OF_MEAN = 0.93
# The largest user is number 1. With this seed it has 178,000 cards in 3.9 million reviews.
_GIANT, _SEED = 1, 1

# The published sizes of segments.
_ROWS = {"train": 65_536, "test": 2_097_152}
_STEP_ROWS = 66_000
_MAP_SIZE = 200_000_000_000
# As published; a run of fewer than 40,000 steps warms up for half of them. With 1e-3 after 10 steps, states of the
# recurrence grow without bound in long histories.
_PEAK_LR, _WARMUP_STEPS = 7e-4, 20_000
_SMALL_NETWORK = {"CHANNELS": 32, "HEADS": 1, "LAYERS": [1, 1, 1, 1, 1]}
# The last users are not trained on, but validated.
_VALIDATED = 3

Keys = dict[str, object]


def run_stage(stage: str, options: argparse.Namespace, figures: Figures) -> None:
    """Run or continue a stage, and measure it."""
    run, written = {
        "simulate": (_simulate, "dataset"),
        "keys": (_keys, "label_filter_db"),
        "train_store": (_train_store, "train_db"),
        "test_store": (_test_store, "test_db"),
        "train": (_train, "runs"),
        "evaluate": (_evaluate, "result"),
    }[stage]
    with figures.measured(stage, options.out / written, options.epochs if stage == "train" else 1):
        run(options)
        if stage == "train_store":
            figures.reviews = _reviews(options)


def _users(options: argparse.Namespace) -> range:
    """The giant, if there is one, and the others."""
    others = (options.reviews_total - options.giant) / (_mean(options) * _SHARE_OF_MEAN)
    return range(_GIANT if options.giant else _GIANT + 1, _GIANT + 1 + max(2 * _VALIDATED, round(others)))


def _mean(options: argparse.Namespace) -> int:
    return round(options.median * math.exp(_SPREAD**2 / 2))


def _simulate(options: argparse.Namespace) -> None:
    users, dataset = _users(options), options.out / "dataset"
    others = range(_GIANT + 1, users.stop)
    _must(simulate(len(others), _mean(options), _SEED, dataset, others.start, _SPREAD, options.processes))
    if options.giant and not has_revlog(dataset, _GIANT):
        for giant in simulate_users(1, options.giant, _SEED, _GIANT, spread=0):
            write_user(dataset, giant)


def _keys(options: argparse.Namespace) -> None:
    _must(find_keys(_config(options, "keys", FindKeysConfig, _shared(options))))


def _train_store(options: argparse.Namespace) -> None:
    _store(options, "train")


def _test_store(options: argparse.Namespace) -> None:
    _store(options, "test")


def _store(options: argparse.Namespace, kind: str) -> None:
    place = {"LMDB_PATH": str(options.out / f"{kind}_db"), "LMDB_SIZE": _MAP_SIZE, "MAX_BATCH_SIZE": _ROWS[kind]}
    _must(process_data(_config(options, f"store_{kind}", ProcessDataConfig, _shared(options) | place)))


def _reviews(options: argparse.Namespace) -> int:
    """The number of reviews in the training store."""
    with review_database(options.out / "train_db", _MAP_SIZE, "LMDB_SIZE").open() as database:
        store = ReviewStore(database)
        return sum(int(store.bounds(user)[-1, 1]) for user in _users(options))


def _steps(options: argparse.Namespace) -> int:
    """About the number of steps of the training."""
    with review_database(options.out / "train_db", _MAP_SIZE, "LMDB_SIZE").open() as database:
        groups = training_groups(segment_places(ReviewStore(database), _users(options)[:-_VALIDATED]), _STEP_ROWS)
    return round(options.epochs * len(groups))


def _train(options: argparse.Namespace) -> None:
    users = _users(options)
    keys: Keys = {
        "EPOCHS": options.epochs,
        "SAVE_MODEL_FOLDER": str(options.out / "runs"),
        "SAVE_MODEL_PREFIX": "rehearsal",
        "TRAIN_USERS_START": users.start,
        "TRAIN_USERS_END": users[-1] - _VALIDATED,
        "VALIDATE_USERS_START": users[-1] - _VALIDATED + 1,
        "VALIDATE_USERS_END": users[-1],
        "TRAIN_DATASET_LMDB_PATH": str(options.out / "train_db"),
        "TRAIN_DATASET_LMDB_SIZE": _MAP_SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(options.out / "test_db"),
        "VALIDATE_DATASET_LMDB_SIZE": _MAP_SIZE,
        "NUM_FETCH_PROCESSES": options.processes,
        "MAX_TRAIN_GLOBAL_LEN": _STEP_ROWS,
        "TRAIN_MODE": "WS",
        "WARMUP_STEPS": max(1, min(_WARMUP_STEPS, _steps(options) // 2)),
        "PEAK_LR": _PEAK_LR,
        "DEVICE": options.device,
        "DTYPE": options.dtype,
        **(_SMALL_NETWORK if options.network == "small" else {}),
    }
    _must(train(_config(options, "train", TrainConfig, keys)))


def _evaluate(options: argparse.Namespace) -> None:
    users = _users(options)
    keys: Keys = {
        "FILE_AHEAD": "RWKV-rehearsal",
        "FILE_IMM": "RWKV-P-rehearsal",
        "MODEL_PATH": str(last_checkpoint(options.out / "runs", "rehearsal")),
        "DEVICE": options.device,
        "DTYPE": options.dtype,
        "DATASET_LMDB_PATH": str(options.out / "test_db"),
        "DATASET_LMDB_SIZE": _MAP_SIZE,
        "USER_START": users.start,
        "USER_END": users[-1],
        "NUM_FETCH_PROCESSES": options.processes,
        "RESULT_FOLDER": str(options.out / "result"),
    }
    _must(evaluate(_config(options, "evaluate", EvaluateConfig, keys | label_filter_keys(options.out, _MAP_SIZE))))


def _shared(options: argparse.Namespace) -> Keys:
    """The keys of the commands that read the dataset."""
    users = _users(options)
    keys: Keys = {
        "DATA_PATH": str(options.out / "dataset"),
        "PROCESSES": options.processes,
        "USER_START": users.start,
        "USER_END": users[-1],
    }
    return keys | label_filter_keys(options.out, _MAP_SIZE)


def _config(options: argparse.Namespace, name: str, cls: type[AnyConfig], keys: Keys) -> AnyConfig:
    folder = options.out / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    return write_config(folder / f"{name}.toml", cls, keys)


def _must(exit_code: int) -> None:
    must_succeed(exit_code, "A stage of the rehearsal failed.")
