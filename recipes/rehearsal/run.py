"""Rehearse the benchmark on simulated users with the sizes of the dataset, and measure time, memory and disk by stage.

    python -m recipes.rehearsal.run --out rehearsal --reviews-total 20000000

Rerun the command to continue after an interruption; --only STAGE runs one stage. The table is printed at the end of
every run. The configurations of the stages are in rehearsal/configs.
"""

import argparse
import math
from pathlib import Path

from recipes.rehearsal.figures import Figures
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
from rwkv.runtime import log, run_command

STAGES = ("simulate", "keys", "train_store", "test_store", "train", "evaluate")

# The users of the dataset: log-normal sizes with a median of 31,000, a mean of 72,700 and a 99th percentile of 640,000.
_MEDIAN, _SPREAD = 31_000, 1.3
# The mean of simulated users, of whom some end early, as a share of the wanted one.
_SHARE_OF_MEAN = 0.93
# The largest user is number 1. With this seed it has 178,000 cards in 3.9 million reviews.
_GIANT, _GIANT_REVIEWS, _SEED = 1, 3_900_000, 1

# The published sizes of segments.
_ROWS = {"train": 65_536, "test": 2_097_152}
_MAP_SIZE = 200_000_000_000
_SMALL_NETWORK = {"CHANNELS": 32, "HEADS": 1, "LAYERS": [1, 1, 1, 1, 1]}
# The last users are not trained on, but validated.
_VALIDATED = 3

Keys = dict[str, object]


def main(arguments: list[str] | None = None) -> int:
    """Run the remaining stages, and print the table. arguments: by default those of the command line."""
    options = parsed(arguments)
    figures = Figures(options.out / "figures.json", _settings(options)).load()
    try:
        for stage in STAGES:
            if options.only not in (None, stage):
                continue
            if figures.is_done(stage):
                log.info("%s is done", stage)
                continue
            log.info("%s", stage)
            run_stage(stage, options, figures)
    finally:
        print(figures.table())
    return 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a rehearsal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of all output")
    parser.add_argument("--reviews-total", type=int, default=20_000_000, help="about the number of all reviews")
    parser.add_argument("--giant", type=int, default=_GIANT_REVIEWS, help="the reviews of the largest user; 0 for none")
    parser.add_argument("--median", type=int, default=_MEDIAN, help="the median number of reviews of the others")
    parser.add_argument("--epochs", type=float, default=1.0, help="the passes of the training over all reviews")
    parser.add_argument("--network", choices=("small", "published"), help="by default small on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="by default float32 on a CPU, else bfloat16")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=STAGES, help="run only this stage")
    options = parser.parse_args(arguments)
    is_cpu = options.device == "cpu"
    options.network = options.network or ("small" if is_cpu else "published")
    options.dtype = options.dtype or ("float32" if is_cpu else "bfloat16")
    return options


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


def _settings(options: argparse.Namespace) -> dict[str, object]:
    names = ("reviews_total", "giant", "median", "epochs", "network", "device", "dtype", "processes")
    return {name: getattr(options, name) for name in names}


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
        "TRAIN_MODE": "WS",
        "WARMUP_STEPS": 10,
        "PEAK_LR": 1e-3,
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


if __name__ == "__main__":
    raise SystemExit(run_command(main))
