"""A folder with stores of a few learners, in which the training command is run."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rwkv.train_rwkv
from rwkv.training.step import train_step
from tests.benchmark.workspace import REPOSITORY, Workspace, studied
from tests.helpers import DECKS, write_history
from tests.typed import preceded

SIZE = 1 << 24
# Such as W1130 13:28:24.028000 525 torch/distributed/run.py:874]
_OF_TORCHRUN = re.compile(r"[WEI]\d{4} .*torch/distributed/")
# Cards of each learner. Learners 1 and 2 are trained on, 3 validates. Few rows: the published network is large.
CARDS = {1: 30, 2: 16, 3: 9}
SEGMENT_ROWS = 60

# The command with checkpoints every 2 steps, as a process of its own that stands still where it is to be killed.
_DRIVER = """
import itertools, sys, time
import torch
import rwkv.benchmark.training_checkpoints as checkpoints
import rwkv.benchmark.training_steps as steps
from rwkv.train_rwkv import main
torch.utils.data._utils.worker.MP_STATUS_CHECK_INTERVAL = 0.5  # workers look sooner whether the command is gone
steps._FIRST_CHECKPOINT = steps._STEPS_BETWEEN_CHECKPOINTS = 2
owner, name, calls = {"step": (steps, "train_step", 4), "validation": (checkpoints, "validate", 2)}[sys.argv[1]]
real, call = getattr(owner, name), itertools.count(1)
def stand_still(*arguments):
    if next(call) == calls:
        print("standing still", flush=True)
        time.sleep(600)
    return real(*arguments)
setattr(owner, name, stand_still)
sys.exit(main(["--config", sys.argv[2]]))
"""

# The command as one of several processes, with checkpoints every 2 steps. In a process of the given number the given
# signal arrives at the given step, or in the validation after it, or an error if the signal is 0, unless torchrun has
# started the processes again.
_SHARED_DRIVER = """
import os, signal, sys
import torch
import rwkv.benchmark.training_checkpoints as checkpoints
import rwkv.benchmark.training_steps as steps
from rwkv.stopping import leave
from rwkv.train_rwkv import main
torch.utils.data._utils.worker.MP_STATUS_CHECK_INTERVAL = 0.5
steps._FIRST_CHECKPOINT = steps._STEPS_BETWEEN_CHECKPOINTS = 2
config, rank, number, step, in_validation = sys.argv[1], *map(int, sys.argv[2:])
set_rate, validate, begun = steps.set_learning_rate, checkpoints.validate, 0
def signal_here():
    if begun == step and rank == int(os.environ["RANK"]) and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if number == 0:
            raise ValueError("unexpected")
        os.kill(os.getpid(), number)
def begin_step(*arguments):
    global begun
    begun += 1
    if not in_validation:
        signal_here()
    set_rate(*arguments)
def begin_validation(*arguments):
    if in_validation:
        signal_here()
    return validate(*arguments)
steps.set_learning_rate, checkpoints.validate = begin_step, begin_validation
leave(main(["--config", config]))
"""


def make_stores(root: Path) -> None:
    """Write the learners, with two cards a note, and run the commands of the data layer."""
    workspace = Workspace(root)
    for user, count in CARDS.items():
        cards = np.arange(count)
        tables = {"card_id": cards, "note_id": cards // 2, "deck_id": cards % 2}
        write_history(workspace.dataset, user, studied(user, count), tables, DECKS)
    assert workspace.find_keys("--short", "--secs") == 0
    assert workspace.process_data(LMDB_PATH=str(root / "train_db"), MAX_BATCH_SIZE=SEGMENT_ROWS) == 0
    assert workspace.process_data(LMDB_PATH=str(root / "test_db"), MAX_BATCH_SIZE=1 << 20) == 0


@dataclass(frozen=True)
class Training:
    """stores: where `make_stores` was. out: where checkpoints go."""

    stores: Path
    out: Path

    def config(self, **changed: object) -> str:
        """The configuration file; None leaves a key out."""
        keys = {
            "TRAIN_USERS_START": 1,
            "TRAIN_USERS_END": 2,
            "VALIDATE_USERS_START": 3,
            "VALIDATE_USERS_END": 3,
            "TRAIN_DATASET_LMDB_PATH": str(self.stores / "train_db"),
            "TRAIN_DATASET_LMDB_SIZE": SIZE,
            "VALIDATE_DATASET_LMDB_PATH": str(self.stores / "test_db"),
            "VALIDATE_DATASET_LMDB_SIZE": SIZE,
            "MAX_TRAIN_GLOBAL_LEN": 2 * SEGMENT_ROWS,
            "TRAIN_MODE": "WS",
            "WARMUP_STEPS": 2,
            "EPOCHS": 2,
            "PEAK_LR": 1e-3,
            "SAVE_MODEL_FOLDER": str(self.out),
            "SAVE_MODEL_PREFIX": "p",
            "DEVICE": "cpu",
            "DTYPE": "float",
            "THREADS": 1,
        }
        foreign = dict.fromkeys(("DATA_PATH", "USER_START", "USER_END"))
        return Workspace(self.out.parent, foreign).write_config(keys | changed)

    def run(self, **changed: object) -> int:
        """Run the command in this process; its exit code."""
        return rwkv.train_rwkv.main(["--config", self.config(**changed)])

    def kill(self, where: str) -> None:
        """Run the command as a process of its own and end it by SIGKILL at its fourth "step" or second "validation"."""
        command = [sys.executable, "-c", _DRIVER, where, self.config()]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "standing still\n", "the command ended before it could be killed"
        process.kill()
        process.communicate(timeout=60)  # returns when its workers, who share its output, have ended too
        assert process.returncode == -signal.SIGKILL

    def run_shared(
        self,
        processes: int,
        changed: Mapping[str, object],
        signalled: tuple[int, int, int] = (0, signal.SIGTERM, 0),
        in_validation: bool = False,
        restarts: int = 0,
    ) -> tuple[int, str]:
        """Run the command in several processes by torchrun.

        Args:
            processes: Their number.
            changed: Keys of the configuration.
            signalled: The number of a process, and the signal that it gets at a step of the command, from 1; 0 for an
                error that is not expected.
            in_validation: Whether it gets it in the validation after that step.
            restarts: Times that torchrun starts the processes again after a failure.

        Returns:
            The exit code, and the lines on stderr that are not torchrun's.
        """
        driver = self.out.parent / "driver.py"
        driver.write_text(_SHARED_DRIVER)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += [
            f"--max-restarts={restarts}",
            str(driver),
            self.config(**changed),
            *(str(int(value)) for value in (*signalled, in_validation)),
        ]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        lines = done.stderr.splitlines(keepends=True)
        return done.returncode, "".join(line for line in lines if not _OF_TORCHRUN.match(line))

    def steps(self) -> list[int]:
        """The numbers of the checkpoints, each of which has its optimiser's state."""
        numbers = sorted(int(path.stem.removeprefix("p_")) for path in self.out.glob("p_[0-9]*.pth"))
        optimizers = {path.name for path in self.out.glob("p_optim_*.pth")}
        assert optimizers == {f"p_optim_{number}.pth" for number in numbers}
        return numbers

    def weights(self, step: int) -> dict[str, torch.Tensor]:
        return torch.load(self.out / f"p_{step}.pth", weights_only=True)

    def log(self) -> list[dict[str, Any]]:
        """The log, the lines of steps and those of validations."""
        return [json.loads(line) for line in (self.out / "p.log.jsonl").read_text().splitlines()]

    def trained(self) -> list[dict[str, Any]]:
        """The log's lines of steps."""
        return [line for line in self.log() if "loss" in line]

    def files(self) -> dict[str, bytes]:
        """All that the run left, byte for byte, but for the note, which holds its place."""
        return {path.name: path.read_bytes() for path in self.out.iterdir() if path.suffix != ".run"}


def is_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    assert ours.keys() == theirs.keys()
    return all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


OFTEN = pytest.mark.usefixtures("often")


def set_often(patch: pytest.MonkeyPatch) -> None:
    """Checkpoints every 2 steps."""
    patch.setattr("rwkv.benchmark.training_steps._FIRST_CHECKPOINT", 2)
    patch.setattr("rwkv.benchmark.training_steps._STEPS_BETWEEN_CHECKPOINTS", 2)


def interrupt_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """The next runs are stopped by Ctrl-C in the step after so many."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        if taken > steps:
            raise KeyboardInterrupt

    patch.setattr("rwkv.benchmark.training_steps.train_step", preceded(train_step, count))


def signal_at(patch: pytest.MonkeyPatch, number: int, steps: int) -> None:
    """The next runs get a signal in the step of this number, counted from their start."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), number)

    patch.setattr("rwkv.benchmark.training_steps.train_step", preceded(train_step, count))
