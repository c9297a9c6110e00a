"""Histories, keys, a store and models, made by the commands; and evaluations of them, each with results of its own."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rwkv.get_result
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.benchmark.workspace import REPOSITORY, SIZE, Workspace, items
from tests.helpers import DECKS, IntColumns, cards_of, random_revlog, revlog_columns, write_history
from tests.networks import recipe_network

AHEAD, IMM = "RWKV", "RWKV-P"

# Histories of some 50 reviews with keys; one of them has a card whose beginning is missing, and a key that tells.
USERS = (1, 2, 3, 5)
LOST_USER = 5
# A user whose keys were looked for, without any.
NO_KEYS_USER = 4
# A user who has keys under the usual prefix, but none under this one.
PART_PREFIX, PART_LACKS = "part_", 3

# So many rows that users 1 and 2 share a batch, 3 and 4 too, and 5 is alone.
ROWS_TOGETHER = 200

_PATIENCE_S = 60


def lost_beginning(seed: int) -> IntColumns:
    """A history whose 40th review is the first of a card, yet has an interval."""
    columns = random_revlog(seed, reviews=55, cards=8)
    columns["card_id"][40] = 77
    columns["elapsed_days"][40], columns["elapsed_seconds"][40], columns["state"][40] = 3, 260_000, 2
    return columns


def make_inputs(root: Path) -> None:
    """The dataset, its keys with SHORT and SECS, the store, and two models, in a folder."""
    workspace = Workspace(root, {"SHORT": True, "SECS": True})
    for user in USERS:
        revlog = lost_beginning(user) if user == LOST_USER else random_revlog(user, reviews=45 + 5 * user, cards=8)
        write_history(workspace.dataset, user, revlog, cards_of(revlog), DECKS)
    write_history(workspace.dataset, NO_KEYS_USER, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    assert workspace.find_keys() == 0
    others = [user for user in (*USERS, NO_KEYS_USER) if user != PART_LACKS]
    assert workspace.find_keys(LABEL_FILTER_KEY_PREFIX=PART_PREFIX, USER_IDS=others) == 0
    assert Workspace(root).process_data() == 0
    write_weights(root / "model.pth", recipe_network(PUBLISHED).state_dict())
    write_weights(root / "other.pth", recipe_network(PUBLISHED, 0.1).state_dict())


@dataclass(frozen=True)
class Evaluation:
    """Evaluations with one place for their results. inputs: the folder of `make_inputs`."""

    inputs: Path
    root: Path

    def run(self, *flags: str, **settings: object) -> int:
        """Run the command; its exit code. Settings are keys of the configuration, None leaves one out."""
        return rwkv.get_result.main(["--config", self.write_config(settings), *flags])

    def ended_by(self, signal_name: str, line: int, **settings: object) -> tuple[int, str]:
        """The command as a process that gets a signal when `line` lines of results were written.

        Its return code, and what it said on standard error.
        """
        command = [sys.executable, "-c", _ENDED, signal_name, str(line), str(ROWS_TOGETHER)]
        output = self.root / "said.txt"
        # A file, for a pipe would be read until the worker processes have ended too, seconds later.
        with output.open("w") as file:
            process = subprocess.Popen(
                [*command, self.write_config(settings)],
                cwd=REPOSITORY,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
                # Tests that run in the background hand down that Ctrl-C is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            code = process.wait(_PATIENCE_S)
        return code, output.read_text()

    def write_config(self, settings: dict[str, object]) -> str:
        """The configuration file of the command."""
        keys = {
            "DATA_PATH": None,
            "FILE_AHEAD": AHEAD,
            "FILE_IMM": IMM,
            "MODEL_PATH": str(self.inputs / "model.pth"),
            "DEVICE": "cpu",
            "DTYPE": "float",
            "THREADS": 1,
            "DATASET_LMDB_PATH": str(self.inputs / "store_db"),
            "DATASET_LMDB_SIZE": SIZE,
            "LABEL_FILTER_LMDB_PATH": str(self.inputs / "keys_db"),
            "USER_START": 1,
            "USER_END": 5,
            "RAW_DB_PATH": str(self.root / "weights_db"),
            "RAW_DB_SIZE": SIZE,
            "RESULT_FOLDER": str(self.root / "result"),
            "RAW_FOLDER": str(self.root / "raw"),
        }
        return Workspace(self.root).write_config(keys | settings)

    def files(self) -> dict[str, bytes]:
        """The result files by `folder/name`, without the notes beside them."""
        files: dict[str, bytes] = {}
        for folder in ("result", "raw"):
            files |= {
                f"{folder}/{path.name}": path.read_bytes() for path in sorted((self.root / folder).glob("*.jsonl"))
            }
        return files

    def lines(self, folder: str, name: str) -> dict[int, dict[str, Any]]:
        """The lines of a result file by user, in the file's order."""
        path = self.root / folder / f"{name}.jsonl"
        return {line["user"]: line for line in map(json.loads, path.read_text().splitlines())}

    def weights(self) -> dict[str, bytes]:
        """The items of the database of curve weights."""
        return items(self.root / "weights_db")


# Every line of a result file is synced once, after it was written. Ctrl-C reaches the worker processes too; SIGKILL
# only the command.
_ENDED = """
import os, signal, sys
import rwkv.benchmark.evaluate
import rwkv.get_result
name, line, rows, config = sys.argv[1:]
rwkv.benchmark.evaluate._ROWS_TOGETHER = int(rows)
sync, written = os.fsync, []
def ending(file):
    sync(file)
    written.append(os.readlink(f"/proc/self/fd/{file}").endswith(".jsonl"))
    if written[-1] and sum(written) == int(line):
        os.killpg(0, signal.SIGINT) if name == "SIGINT" else os.kill(os.getpid(), signal.SIGKILL)
os.fsync = ending
sys.exit(rwkv.get_result.main(["--config", config]))
"""
