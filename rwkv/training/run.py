"""The files of a training run: checkpoints, the log, and the note from which a stopped run continues (spec 5)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rwkv.errors import CheckpointError, ConfigError, InputError
from rwkv.files import file_errors, write_whole
from rwkv.model.checkpoint import read_optimizer, read_weights, write_optimizer, write_weights
from rwkv.model.network import Network
from rwkv.model.shapes import different_sizes, spec_of
from rwkv.plurals import counted, form
from rwkv.training.optimizer import Optimizer, load_moments, saved_state

# Keys that do not affect the result of a run; all others must be unchanged for it to continue. SAVE_MODEL_* are free
# because the note lies beside the checkpoints, so that a run may be moved.
_FREE_PREFIXES = ("WANDB_", "USE_WANDB", "LABEL_FILTER_", "NUM_FETCH_PROCESSES", "RESUME", "THREADS", "SAVE_MODEL_")
_FREE_SUFFIXES = ("_LMDB_SIZE",)

Keys = Mapping[str, object]
# Keys that are missing in older notes, with the values that those runs used.
_LATER_KEYS: dict[str, object] = {"DROPOUT": 1.0, "OPTIMIZER": "adamw", "CHANNELS": None, "HEADS": None, "LAYERS": None}
# Types of the values of keys, alone or in a list.
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        done: Steps done.
        total: Steps of the whole run.
        skipped: Steps done that changed nothing, since the loss or a gradient was not finite.
        is_valid: Whether the latest validation, if any, was finite.
        awaits_validation: Whether the last step done has not been validated yet, though its checkpoint is saved.
    """

    done: int
    total: int
    skipped: int
    is_valid: bool = True
    awaits_validation: bool = False

    @property
    def finished(self) -> bool:
        return self.done == self.total and not self.awaits_validation

    def is_possible(self) -> bool:
        """Whether the counts are consistent; a damaged file may hold anything."""
        counts = self.done, self.total, self.skipped
        are_counts = all(type(count) is int for count in counts)
        are_flags = type(self.is_valid) is bool and type(self.awaits_validation) is bool
        return are_counts and are_flags and 0 < self.done <= self.total and 0 <= self.skipped <= self.done

    def faults(self) -> str:
        """Why the run's weights are unusable; empty if they are usable."""
        faults = [] if self.is_valid else ["its last validation is not finite"]
        if 2 * self.skipped > self.done:
            share = f"{self.skipped:,} of {counted(self.done, 'step')}"
            faults.insert(0, f"{share} {form(self.skipped, 'was', 'were')} skipped")
        return ", and ".join(faults)


class RunFiles:
    """The files SAVE_MODEL_FOLDER/SAVE_MODEL_PREFIX*: checkpoints `_{step}.pth`, `_optim_{step}.pth`, and note `.run`.

    Every file is written atomically, and the note last, so a killed run and its log continue from the noted step.

    Args:
        folder: SAVE_MODEL_FOLDER.
        prefix: SAVE_MODEL_PREFIX.
        first_step: Number of the run's first step.
        keys: The configuration.
        data: Fingerprint of the training data.
    """

    def __init__(self, folder: Path, prefix: str, first_step: int, keys: Keys, data: str) -> None:
        self._folder, self._prefix, self._first_step, self._data = folder, prefix, first_step, data
        self._keys = {key: value for key, value in keys.items() if _is_fixed(key)}
        # Processes that share a run must have the same.
        self.identity = json.dumps([self._keys, data])
        self.note = folder / f"{prefix}.run"
        self.log = folder / f"{prefix}.log.jsonl"

    def weights(self, done: int) -> Path:
        """Path of the checkpoint after `done` steps of the run."""
        return self._folder / f"{self._prefix}_{self._first_step + done - 1}.pth"

    def optimizer(self, done: int) -> Path:
        """Path of the optimiser's state after `done` steps of the run."""
        return self._folder / f"{self._prefix}_optim_{self._first_step + done - 1}.pth"

    def progress(self) -> Progress | None:
        """The progress of the run with this configuration; None if it has not begun.

        Raises:
            ConfigError: A run of this name has another configuration; the error names the keys.
            InputError: The training store has changed since the run began, or the note is damaged.
        """
        if not self.note.is_file():
            return None
        progress, theirs, data = self._read_note()
        differing = [key for key in self._keys if key not in theirs or theirs[key] != self._keys[key]]
        if differing:
            raise ConfigError(
                "A run of the same name has another configuration.",
                where=str(self.note),
                got=_stated(self._keys, differing),
                expected=_stated(theirs, differing),
                hint="choose another SAVE_MODEL_PREFIX, or set RESUME = false to overwrite that run",
            )
        # Older notes have no fingerprint of the histories.
        if data not in (self._data, self._data.rpartition(", histories ")[0]):
            raise InputError(
                "The training store has changed since the run began.",
                where=str(self.note),
                got=self._data,
                expected=data,
                hint="choose another SAVE_MODEL_PREFIX, or set RESUME = false to overwrite that run",
            )
        return progress

    def _read_note(self) -> tuple[Progress, Keys, str]:
        try:
            with file_errors(self.note):
                content = json.loads(self.note.read_bytes())
            keys, progress = dict(content["config"]), Progress(**content["progress"])
            if not progress.is_possible() or not all(map(_is_plain, keys.values())):
                raise ValueError("values are of other types")
            return progress, _LATER_KEYS | keys, str(content["data"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            hint = "move the file away to start again"
            raise InputError("The note of the run is damaged.", where=str(self.note), hint=hint) from error

    def begin(self) -> None:
        """Remove the note of an earlier run of this name; its checkpoints stay until they are overwritten."""
        with file_errors(self.note):
            self.note.unlink(missing_ok=True)

    def read(self, done: int) -> "Saved":
        """Read the checkpoint after `done` steps.

        Raises:
            CheckpointError: The checkpoint is missing or damaged.
        """
        missing = [path for path in (self.weights(done), self.optimizer(done)) if not path.is_file()]
        if missing:
            raise CheckpointError(
                f"The checkpoint of step {self._first_step + done - 1}, the run's last, is missing.",
                where=" and ".join(map(str, missing)),
                hint="put it back, or set RESUME = false to restart the run",
            )
        return _read(self.weights(done), [self.optimizer(done)])

    def save(self, done: int, network: Network, optimizer: Optimizer) -> None:
        """Write the checkpoint after `done` steps."""
        write_weights(self.weights(done), network.state_dict())
        write_optimizer(self.optimizer(done), saved_state(optimizer))

    def record(self, progress: Progress) -> None:
        """Write the note. Call it after the step is logged and its checkpoint is saved."""
        note = {"progress": asdict(progress), "config": self._keys, "data": self._data}
        write_whole(self.note, json.dumps(note, indent=1).encode())


@dataclass(frozen=True)
class Saved:
    """Weights and an optimiser's state on the CPU, with the places from which they were read."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    weights_place: str
    optimizer_place: str

    def restore(self, network: Network, optimizer: Optimizer) -> None:
        """Load both into a network and its optimiser.

        Raises:
            CheckpointError: They belong to another network or optimiser.
        """
        got, expected = different_sizes(spec_of(self.weights), network.spec)
        if got:
            raise CheckpointError(
                "The weights have other sizes than the configured network.",
                where=self.weights_place,
                got=got,
                expected=expected,
                hint="set CHANNELS, HEADS and LAYERS to those of the weights, or start without LOAD_MODEL",
            )
        network.load_state_dict(self.weights)
        load_moments(optimizer, self.optimizer, self.optimizer_place)


def read_model(folder: Path, name: str) -> Saved:
    """Read the weights and the optimiser's state of another run (LOAD_MODEL).

    Args:
        folder: Folder of the files.
        name: Name of the weights without `.pth`. The optimiser's state is `{name}_optim.pth`, or for a name `P_N` also
            `P_optim_N.pth`.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    optimizer_paths = [folder / f"{name}_optim.pth"]
    stem, _, step = name.rpartition("_")
    if stem and step.isdigit():
        optimizer_paths.append(folder / f"{stem}_optim_{step}.pth")
    return _read(folder / f"{name}.pth", optimizer_paths)


def _read(weights: Path, optimizer_paths: list[Path]) -> Saved:
    held = read_weights(weights)
    return Saved(held, read_optimizer(optimizer_paths), str(weights), " or ".join(map(str, optimizer_paths)))


def _is_fixed(key: str) -> bool:
    return not key.startswith(_FREE_PREFIXES) and not key.endswith(_FREE_SUFFIXES)


def _is_plain(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, _PLAIN) for item in items)


def _stated(keys: Keys, names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {json.dumps(keys[name])}" if name in keys else f"no {name}" for name in names)
