"""Training by the real command on a GPU, loader workers and all, beside the bare step over the same batches.

python -m bench.gpu_end_to_end [--users 400] [--reviews 3000] [--workers 12] [--epochs 4]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.report import print_json
from rwkv.batches.loader import training_batch
from rwkv.batches.padding import pad_batch
from rwkv.batches.plan import Group, segment_places, training_groups
from rwkv.commands.find_keys import find_keys
from rwkv.commands.process_data import process_data
from rwkv.commands.simulate import simulate
from rwkv.config import FindKeysConfig, ProcessDataConfig
from rwkv.data.database import Database
from rwkv.data.store import ReviewStore
from rwkv.model.network import new_network
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import make_optimizer, set_learning_rate
from rwkv.training.staging import staged

_SIZE = 4_000_000_000
_ROWS_A_STEP = 66_000
_SEGMENT_ROWS = 16_384
# Steps before the clock starts: sizes of batches are recorded in them.
_WARM_UP = 20


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--reviews", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _prepare(root, options)
        seconds = _command_steps(root, options)
        with Database(root / "store", _SIZE, "", readonly=True) as database:
            store = ReviewStore(database)
            places = segment_places(store, range(1, options.users + 1))
            groups = training_groups(places, _ROWS_A_STEP)
            reviews_a_step = sum(place.stop - place.start for place in places) / len(groups)
            bare = _bare_step(store, groups)
    of_command = (seconds[-1] - seconds[_WARM_UP]) / (len(seconds) - 1 - _WARM_UP)
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name(),
        "steps": len(seconds),
        "workers": options.workers,
        "command_reviews_per_s": reviews_a_step / of_command,
        "bare_reviews_per_s": reviews_a_step / bare,
        "share": bare / of_command,
        "first_step_s": seconds[0],
    }
    for name, value in figures.items():
        print(f"{name:<28} {value}")
    print_json("gpu_end_to_end", figures)


def _prepare(root: Path, options: argparse.Namespace) -> None:
    users = tuple(range(1, options.users + 1))
    of_keys = {"label_filter_lmdb_path": root / "keys", "label_filter_lmdb_size": _SIZE}
    common: dict[str, Any] = {"data_path": root / "data", "user_ids": users, "processes": options.workers, **of_keys}
    simulate(options.users, options.reviews, 1, root / "data")
    find_keys(FindKeysConfig(**common))
    store: dict[str, Any] = {"lmdb_path": root / "store", "lmdb_size": _SIZE, "max_batch_size": _SEGMENT_ROWS}
    process_data(ProcessDataConfig(**common, **store))


def _command_steps(root: Path, options: argparse.Namespace) -> list[float]:
    """Run the command; when each of its steps was logged, in seconds from its start."""
    keys: dict[str, object] = {
        "TRAIN_USERS_START": 1,
        "TRAIN_USERS_END": options.users,
        "VALIDATE_USERS_START": options.users + 1,
        "VALIDATE_USERS_END": options.users + 1,
        "TRAIN_DATASET_LMDB_PATH": str(root / "store"),
        "TRAIN_DATASET_LMDB_SIZE": _SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(root / "store"),
        "VALIDATE_DATASET_LMDB_SIZE": _SIZE,
        "MAX_TRAIN_GLOBAL_LEN": _ROWS_A_STEP,
        "TRAIN_MODE": "WS",
        "WARMUP_STEPS": 10,
        "EPOCHS": options.epochs,
        "PEAK_LR": 1e-4,
        "NUM_FETCH_PROCESSES": options.workers,
        "SAVE_MODEL_FOLDER": str(root / "model"),
        "SAVE_MODEL_PREFIX": "bench",
        "DEVICE": "cuda",
        "DTYPE": "bfloat16",
    }
    config = root / "train.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    log = root / "model" / "bench.log.jsonl"
    seconds: list[float] = []
    begun = time.perf_counter()
    command = subprocess.Popen([sys.executable, "-m", "rwkv.train_rwkv", "--config", str(config)])
    while command.poll() is None:
        logged = log.read_bytes().count(b"\n") if log.exists() else 0
        seconds += [time.perf_counter() - begun] * (logged - len(seconds))
        time.sleep(0.002)
    if command.returncode != 0:
        raise RuntimeError("the command failed")
    return seconds


def _bare_step(store: ReviewStore, groups: list[Group]) -> float:
    """Seconds a step over the same batches, made before."""
    device = torch.device("cuda")
    padded = [pad_batch(training_batch(store, group, 1, 0), _ROWS_A_STEP).pin_memory() for group in groups[:20]]
    network = new_network(1).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()))
    set_learning_rate(optimizer, 1e-4)
    steps = RecordedSteps(network, optimizer, torch.bfloat16, "all")
    for batch in staged(padded, device):
        steps.step(batch, 1)
    begun = time.perf_counter()
    for batch in staged(padded * 2, device):
        steps.step(batch, 1)
    return (time.perf_counter() - begun) / (2 * len(padded))


if __name__ == "__main__":
    main()
