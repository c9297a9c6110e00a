"""The files of a training run: its checkpoints, its log, and the note from which a stopped run goes on (spec 5)."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rwkv.errors import ConfigError, InputError
from rwkv.model.checkpoint import read_optimizer, read_weights, write_optimizer, write_weights
from rwkv.model.network import Network
from rwkv.training.optimizer import load_moments

# Keys that say nothing about the result of a run; all others must be the same for it to go on.
_FREE_PREFIXES = ("WANDB_", "USE_WANDB", "LABEL_FILTER_", "NUM_FETCH_PROCESSES", "RESUME", "THREADS")
_FREE_SUFFIXES = ("_LMDB_SIZE",)

Keys = Mapping[str, object]


@dataclass(frozen=True)
class Progress:
    """How far a run has come: optimiser steps done, of how many; finished: the run has ended."""

    done: int
    total: int
    finished: bool


class RunFiles:
    """SAVE_MODEL_FOLDER/SAVE_MODEL_PREFIX*: checkpoints `_{step}.pth` and `_optim_{step}.pth`, the note `.run`.

    A note is written after the checkpoint it names, each file by rename: a kill leaves the last whole checkpoint.
    """

    def __init__(self, folder: Path, prefix: str, first_step: int) -> None:
        self._folder, self._prefix, self._first_step = folder, prefix, first_step
        self.note = folder / f"{prefix}.run"
        self.log = folder / f"{prefix}.log.jsonl"

    def weights(self, done: int) -> Path:
        """The checkpoint after so many steps of the run."""
        return self._folder / f"{self._prefix}_{self._first_step + done - 1}.pth"

    def _optimizer(self, done: int) -> Path:
        return self._folder / f"{self._prefix}_optim_{self._first_step + done - 1}.pth"

    def progress(self, keys: Keys, total: int) -> Progress | None:
        """How far the run with this configuration has come; None where it is to begin.

        Raises ConfigError, naming the keys, where an unfinished run has another configuration, and InputError where its
        training store was another.
        """
        if not self.note.is_file():
            return None
        try:
            content = json.loads(self.note.read_text())
            found, theirs = Progress(**content["progress"]), content["config"]
        except (ValueError, KeyError, TypeError) as error:
            hint = "move the file away to begin anew"
            raise InputError("The note of the run is damaged.", where=str(self.note), hint=hint) from error
        if differing := [f"{key} = {theirs.get(key)!r}" for key in _fixed(keys) if theirs.get(key) != keys[key]]:
            if found.finished:
                return None
            raise ConfigError(
                "An unfinished run of the same name has another configuration.",
                where=str(self.note),
                got=", ".join(f"{text.split(' = ')[0]} = {keys[text.split(' = ')[0]]!r}" for text in differing),
                expected=", ".join(differing),
                hint="finish it with its own configuration, give another SAVE_MODEL_PREFIX, or set RESUME = false",
            )
        if found.total != total:
            raise InputError(
                "The training store has changed since the run began.",
                where=str(self.note),
                got=f"{total} steps in all",
                expected=f"{found.total} steps",
                hint="give another SAVE_MODEL_PREFIX, or set RESUME = false",
            )
        return found

    def load(self, done: int, network: Network, optimizer: torch.optim.AdamW) -> None:
        """Put network and optimiser back to where they were after so many steps."""
        network.load_state_dict(read_weights(self.weights(done)))
        path = self._optimizer(done)
        load_moments(optimizer, read_optimizer([path]), str(path))

    def save(self, progress: Progress, keys: Keys, network: Network, optimizer: torch.optim.AdamW) -> None:
        """Write a checkpoint, then the note that names it."""
        write_weights(self.weights(progress.done), network.state_dict())
        write_optimizer(self._optimizer(progress.done), optimizer.state_dict())
        note = {"progress": asdict(progress), "config": {key: keys[key] for key in _fixed(keys)}}
        temporary = self.note.with_name(self.note.name + ".tmp")
        with temporary.open("w") as file:
            file.write(json.dumps(note, indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.note)


def load_model(folder: Path, name: str, network: Network, optimizer: torch.optim.AdamW) -> None:
    """LOAD_MODEL: weights and optimiser of another run. A name `P_N` also finds its optimiser at `P_optim_N.pth`."""
    network.load_state_dict(read_weights(folder / f"{name}.pth"))
    paths = [folder / f"{name}_optim.pth"]
    stem, _, step = name.rpartition("_")
    if stem and step.isdigit():
        paths.append(folder / f"{stem}_optim_{step}.pth")
    load_moments(optimizer, read_optimizer(paths), " or ".join(map(str, paths)))


def _fixed(keys: Keys) -> list[str]:
    return [key for key in keys if not key.startswith(_FREE_PREFIXES) and not key.endswith(_FREE_SUFFIXES)]
