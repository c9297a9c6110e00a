"""Train the package's weights: simulated learners, keys, stores, training (WS, then D), evaluation.

    python -m recipes.weights.train --out work --users 20000 --reviews 15000 --stable-steps 22000 --decay-steps 8000

Rerun the command to continue after an interruption. The configurations of the stages are in work/configs. Use another
--name for a second training on the same data.
"""

import argparse
from pathlib import Path

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
from rwkv.data.store import ReviewStore
from rwkv.runtime import run_command
from rwkv.training.optimizer import OPTIMIZERS

# The first learners are held out: some for validation, all for evaluation.
HELD_OUT, VALIDATED = 400, 20

_MAP_SIZE = 200_000_000_000
_WHOLE_HISTORY = 2**24

Keys = dict[str, object]


def main() -> int:
    """Run the remaining stages."""
    options = parsed(None)
    for stage in (_data, _stable, _decay, _evaluate):
        if options.only in (None, stage.__name__.removeprefix("_")):
            stage(options)
    return 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a training, from `arguments` or by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of all output")
    parser.add_argument("--users", type=int, default=20_000, help="the number of training learners")
    parser.add_argument("--reviews", type=int, default=15_000, help="the mean number of reviews of a learner")
    parser.add_argument("--spread", type=float, default=1.2, help="the standard deviation of the log number of reviews")
    parser.add_argument("--seed", type=int, default=1, help="the seed of learners and training")
    parser.add_argument("--segment-rows", type=int, default=65_536, help="the most rows of a training segment")
    parser.add_argument("--rows", type=int, default=66_000, help="the most rows of a training step")
    parser.add_argument("--stable-steps", type=int, default=22_000)
    parser.add_argument("--decay-steps", type=int, default=8_000)
    parser.add_argument("--warmup-steps", type=int, default=1_000)
    parser.add_argument("--peak-lr", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adamw")
    parser.add_argument("--dropout", type=float, default=0.0, help="the factor of the published dropout rates")
    parser.add_argument("--name", default="weights", help="the name of this training")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--processes", type=int, default=14)
    parser.add_argument("--only", choices=("data", "stable", "decay", "evaluate"), help="run only this stage")
    return parser.parse_args(arguments)


def _data(options: argparse.Namespace) -> None:
    """Simulate learners, find keys and write stores."""
    users = options.users + HELD_OUT
    dataset = dataset_folder(options)
    _must(simulate(users, options.reviews, options.seed, dataset, 1, options.spread, options.processes))
    write_stores(options)


def dataset_folder(options: argparse.Namespace) -> Path:
    """The folder of the learners' dataset."""
    folder: Path = options.out / "dataset"
    return folder


def write_stores(options: argparse.Namespace) -> None:
    """Find the keys of the simulated learners, and write their stores for training and evaluation."""
    out, users = options.out, options.users + HELD_OUT
    (out / "configs").mkdir(parents=True, exist_ok=True)
    shared: Keys = {
        "DATA_PATH": str(dataset_folder(options)),
        "PROCESSES": options.processes,
        "USER_START": 1,
    } | label_filter_keys(out, _MAP_SIZE)
    _must(find_keys(_config(out, "keys", FindKeysConfig, shared | {"USER_END": users})))
    for kind, rows, last in (("train", options.segment_rows, users), ("test", _WHOLE_HISTORY, HELD_OUT)):
        store = {"USER_END": last, "LMDB_PATH": str(out / f"{kind}_db"), "LMDB_SIZE": _MAP_SIZE, "MAX_BATCH_SIZE": rows}
        _must(process_data(_config(out, f"store_{kind}", ProcessDataConfig, shared | store)))


def _stable(options: argparse.Namespace) -> None:
    """Train with warm-up and constant rate. After an early stop, the decay starts from the last checkpoint."""
    keys = _training(options, options.stable_steps) | {"TRAIN_MODE": "WS", "SAVE_MODEL_PREFIX": "stable"}
    _must(train(_config(options.out, f"{options.name}_stable", TrainConfig, keys)))


def _decay(options: argparse.Namespace) -> None:
    """Train with a decaying rate, from the last checkpoint of the stable phase."""
    decay(options, last_checkpoint(_folder(options), "stable"))


def decay(options: argparse.Namespace, start: Path) -> None:
    """Train with a decaying rate, from the checkpoint `start`."""
    loaded = {"LOAD_MODEL": True, "LOAD_MODEL_FOLDER": str(start.parent), "LOAD_MODEL_NAME": start.stem}
    keys = _training(options, options.decay_steps) | {"TRAIN_MODE": "D", "SAVE_MODEL_PREFIX": "decay"} | loaded
    _must(train(_config(options.out, f"{options.name}_decay", TrainConfig, keys)))


def _evaluate(options: argparse.Namespace) -> None:
    """Evaluate on the held-out learners."""
    keys: Keys = {
        "FILE_AHEAD": f"RWKV-{options.name}",
        "FILE_IMM": f"RWKV-P-{options.name}",
        "MODEL_PATH": str(last_checkpoint(_folder(options), "decay")),
        "DEVICE": options.device,
        "DTYPE": options.dtype,
        "DATASET_LMDB_PATH": str(options.out / "test_db"),
        "DATASET_LMDB_SIZE": _MAP_SIZE,
        "USER_START": 1,
        "USER_END": HELD_OUT,
        "NUM_FETCH_PROCESSES": options.processes,
        "RESULT_FOLDER": str(options.out / "result"),
    }
    _must(
        evaluate(
            _config(
                options.out, f"{options.name}_result", EvaluateConfig, keys | label_filter_keys(options.out, _MAP_SIZE)
            )
        )
    )


def _training(options: argparse.Namespace, steps: int) -> Keys:
    users = range(HELD_OUT + 1, HELD_OUT + options.users + 1)
    with review_database(options.out / "train_db", _MAP_SIZE, "LMDB_SIZE").open() as database:
        groups = len(training_groups(segment_places(ReviewStore(database), users), options.rows))
    return {
        # Half a step more, so that rounding does not lose a step.
        "EPOCHS": (steps + 0.5) / groups,
        "SAVE_MODEL_FOLDER": str(_folder(options)),
        "TRAIN_USERS_START": HELD_OUT + 1,
        "TRAIN_USERS_END": HELD_OUT + options.users,
        "VALIDATE_USERS_START": 1,
        "VALIDATE_USERS_END": VALIDATED,
        "TRAIN_DATASET_LMDB_PATH": str(options.out / "train_db"),
        "TRAIN_DATASET_LMDB_SIZE": _MAP_SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(options.out / "test_db"),
        "VALIDATE_DATASET_LMDB_SIZE": _MAP_SIZE,
        "MAX_TRAIN_GLOBAL_LEN": options.rows,
        "WARMUP_STEPS": options.warmup_steps,
        "PEAK_LR": options.peak_lr,
        "OPTIMIZER": options.optimizer,
        "DROPOUT": options.dropout,
        "SEED": options.seed,
        "DEVICE": options.device,
        "DTYPE": options.dtype,
        "NUM_FETCH_PROCESSES": options.processes,
    }


def _folder(options: argparse.Namespace) -> Path:
    folder: Path = options.out / "runs" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _config(out: Path, name: str, cls: type[AnyConfig], keys: Keys) -> AnyConfig:
    return write_config(out / "configs" / f"{name}.toml", cls, keys)


def _must(exit_code: int) -> None:
    must_succeed(exit_code, "A stage failed.")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
