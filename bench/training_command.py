"""The training command on a GPU over simulated learners: the time and the loss of each step."""

import json
import math
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from rwkv.benchmark.find_keys import find_keys
from rwkv.benchmark.process_data import process_data
from rwkv.benchmark.simulate import simulate
from rwkv.config import FindKeysConfig, ProcessDataConfig

STORE_SIZE = 4_000_000_000
ROWS_A_STEP = 66_000
SEED = 1
RATE, WARM_UP = 1e-4, 10
_SEGMENT_ROWS = 16_384


@dataclass(frozen=True)
class CommandSteps:
    """The steps of a run.

    Attributes:
        seconds: Seconds from the command's start until each step was logged.
        losses: Loss of each step; NaN if it was skipped.
    """

    seconds: list[float]
    losses: list[float]


def prepare(root: Path, options: Namespace) -> None:
    """Simulate learners and make the store; `options` has users, reviews (of each user) and workers."""
    users = tuple(range(1, options.users + 1))
    keys = FindKeysConfig(
        data_path=root / "data",
        user_ids=users,
        processes=options.workers,
        label_filter_lmdb_path=root / "keys",
        label_filter_lmdb_size=STORE_SIZE,
    )
    store = ProcessDataConfig(
        data_path=keys.data_path,
        user_ids=users,
        processes=options.workers,
        lmdb_path=root / "store",
        lmdb_size=STORE_SIZE,
        max_batch_size=_SEGMENT_ROWS,
        label_filter_lmdb_path=keys.label_filter_lmdb_path,
        label_filter_lmdb_size=STORE_SIZE,
    )
    simulate(options.users, options.reviews, 1, root / "data", processes=options.workers)
    find_keys(keys)
    process_data(store)


def command_steps(
    root: Path, options: Namespace, rows: int = ROWS_A_STEP, processes: int = 1, name: str = "bench"
) -> CommandSteps:
    """Run the command over the store in `root`.

    Args:
        root: The folder of `prepare`.
        options: users, epochs, and workers of each process.
        rows: The most rows of a step.
        processes: Processes that share the steps, each with a GPU.
        name: Name of the run, another one for each.
    """
    keys: dict[str, object] = {
        "TRAIN_USERS_START": 1,
        "TRAIN_USERS_END": options.users,
        "VALIDATE_USERS_START": options.users + 1,
        "VALIDATE_USERS_END": options.users + 1,
        "TRAIN_DATASET_LMDB_PATH": str(root / "store"),
        "TRAIN_DATASET_LMDB_SIZE": STORE_SIZE,
        "VALIDATE_DATASET_LMDB_PATH": str(root / "store"),
        "VALIDATE_DATASET_LMDB_SIZE": STORE_SIZE,
        "MAX_TRAIN_GLOBAL_LEN": rows,
        "TRAIN_MODE": "WS",
        "WARMUP_STEPS": WARM_UP,
        "EPOCHS": options.epochs,
        "PEAK_LR": RATE,
        "SEED": SEED,
        "NUM_FETCH_PROCESSES": options.workers * processes,
        "SAVE_MODEL_FOLDER": str(root / "model"),
        "SAVE_MODEL_PREFIX": name,
        "DEVICE": "cuda",
        "DTYPE": "bfloat16",
    }
    config = root / "train.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    log = root / "model" / f"{name}.log.jsonl"
    seconds: list[float] = []
    start = time.perf_counter()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    launcher = [sys.executable, *(torchrun if processes > 1 else [])]
    command = subprocess.Popen([*launcher, "-m", "rwkv.train_rwkv", "--config", str(config)])
    while command.poll() is None:
        logged = log.read_bytes().count(b"\n") if log.exists() else 0
        seconds += [time.perf_counter() - start] * (logged - len(seconds))
        time.sleep(0.002)
    if command.returncode != 0:
        raise RuntimeError("the training command failed")
    logged_losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    return CommandSteps(seconds, [math.nan if loss is None else loss for loss in logged_losses])
