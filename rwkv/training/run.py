"""The files of a training run: its checkpoints, its log, and the note from which a stopped run goes on (spec 5)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rwkv.errors import CheckpointError, ConfigError, InputError
from rwkv.files import file_errors, write_whole
from rwkv.model.checkpoint import read_optimizer, read_weights, write_optimizer, write_weights
from rwkv.model.network import Network
from rwkv.model.shapes import different_sizes, spec_of
from rwkv.training.optimizer import Optimizer, load_moments, saved_state

# Keys that say nothing about the result of a run; all others must be the same for it to go on. SAVE_MODEL_*: a run may
# be moved, for its note lies beside its checkpoints.
_FREE_PREFIXES = ("WANDB_", "USE_WANDB", "LABEL_FILTER_", "NUM_FETCH_PROCESSES", "RESUME", "THREADS", "SAVE_MODEL_")
_FREE_SUFFIXES = ("_LMDB_SIZE",)

Keys = Mapping[str, object]
# Keys that came later, with what runs did before there were such.
_LATER_KEYS: dict[str, object] = {"DROPOUT": 1.0, "OPTIMIZER": "adamw", "CHANNELS": None, "HEADS": None, "LAYERS": None}
# What keys of a training hold, alone or in a list.
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Progress:
    """How far a run has come: optimiser steps done, of how many, and how many of those done were skipped.

    is_valid: whether the validation of the last step done, if there was one, gave numbers.
    """

    done: int
    total: int
    skipped: int
    is_valid: bool = True

    @property
    def finished(self) -> bool:
        return self.done == self.total

    def is_possible(self) -> bool:
        """Whether these are counts that a run can have come to; what is read from a file may be anything."""
        counts = self.done, self.total, self.skipped
        are_counts = all(type(count) is int for count in counts) and type(self.is_valid) is bool
        return are_counts and 0 < self.done <= self.total and 0 <= self.skipped <= self.done

    def faults(self) -> str:
        """Why what the run has learnt is of no use, in words; "" where nothing speaks against it."""
        faults = [] if self.is_valid else ["its last validation is not a number"]
        if 2 * self.skipped > self.done:
            faults.insert(0, f"{self.skipped} of {self.done} steps were skipped")
        return ", and ".join(faults)


class RunFiles:
    """SAVE_MODEL_FOLDER/SAVE_MODEL_PREFIX*: checkpoints `_{step}.pth` and `_optim_{step}.pth`, the note `.run`.

    The note is written when all that belongs to its step is on disk, each file by rename: a run that is killed goes on
    from the last step that is noted, and its log too. keys: the configuration. data: a fingerprint of what is learnt.
    """

    def __init__(self, folder: Path, prefix: str, first_step: int, keys: Keys, data: str) -> None:
        self._folder, self._prefix, self._first_step, self._data = folder, prefix, first_step, data
        self._keys = {key: value for key, value in keys.items() if _is_fixed(key)}
        self.note = folder / f"{prefix}.run"
        self.log = folder / f"{prefix}.log.jsonl"

    def weights(self, done: int) -> Path:
        """The checkpoint after so many steps of the run."""
        return self._folder / f"{self._prefix}_{self._first_step + done - 1}.pth"

    def optimizer(self, done: int) -> Path:
        """The optimiser's state that belongs to it."""
        return self._folder / f"{self._prefix}_optim_{self._first_step + done - 1}.pth"

    def progress(self) -> Progress | None:
        """How far the run with this configuration has come; None where it is to begin.

        Raises ConfigError, naming the keys, where a run of this name has another configuration, and InputError where
        its training store was another.
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
                hint="give another SAVE_MODEL_PREFIX, or set RESUME = false to begin anew over it",
            )
        # Notes from before the histories were taken in end there.
        if data not in (self._data, self._data.rpartition(", histories ")[0]):
            raise InputError(
                "The training store has changed since the run began.",
                where=str(self.note),
                got=self._data,
                expected=data,
                hint="give another SAVE_MODEL_PREFIX, or set RESUME = false to begin anew over it",
            )
        return progress

    def _read_note(self) -> tuple[Progress, Keys, str]:
        try:
            with file_errors(self.note):
                content = json.loads(self.note.read_bytes())
            keys, progress = dict(content["config"]), Progress(**content["progress"])
            if not progress.is_possible() or not all(map(_is_plain, keys.values())):
                raise ValueError("values of other types")
            return progress, _LATER_KEYS | keys, str(content["data"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            hint = "move the file away to begin anew"
            raise InputError("The note of the run is damaged.", where=str(self.note), hint=hint) from error

    def begin(self) -> None:
        """Forget how far an earlier run of this name came; its checkpoints stay until they are overwritten."""
        with file_errors(self.note):
            self.note.unlink(missing_ok=True)

    def load(self, done: int, network: Network, optimizer: Optimizer) -> None:
        """Put network and optimiser back to where they were after so many steps. Raises CheckpointError."""
        lost = [path for path in (self.weights(done), self.optimizer(done)) if not path.is_file()]
        if lost:
            raise CheckpointError(
                f"The run came to step {self._first_step + done - 1}, and its checkpoint of that step is not there.",
                where=" and ".join(map(str, lost)),
                hint="put it back, or set RESUME = false to begin the run anew",
            )
        _load(self.weights(done), [self.optimizer(done)], network, optimizer)

    def save(self, done: int, network: Network, optimizer: Optimizer) -> None:
        """Write the checkpoint after so many steps."""
        write_weights(self.weights(done), network.state_dict())
        write_optimizer(self.optimizer(done), saved_state(optimizer))

    def record(self, progress: Progress) -> None:
        """Note how far the run has come, once the checkpoint of that step is saved and the step is logged."""
        note = {"progress": asdict(progress), "config": self._keys, "data": self._data}
        write_whole(self.note, json.dumps(note, indent=1).encode())


def load_model(folder: Path, name: str, network: Network, optimizer: Optimizer) -> None:
    """LOAD_MODEL: weights and optimiser of another run. A name `P_N` also finds its optimiser at `P_optim_N.pth`."""
    optimizer_paths = [folder / f"{name}_optim.pth"]
    stem, _, step = name.rpartition("_")
    if stem and step.isdigit():
        optimizer_paths.append(folder / f"{stem}_optim_{step}.pth")
    _load(folder / f"{name}.pth", optimizer_paths, network, optimizer)


def _load(weights: Path, optimizer_paths: list[Path], network: Network, optimizer: Optimizer) -> None:
    held = read_weights(weights)
    got, expected = different_sizes(spec_of(held), network.spec)
    if got:
        raise CheckpointError(
            "The weights are of a network of another size than the configured one.",
            where=str(weights),
            got=got,
            expected=expected,
            hint="set CHANNELS, HEADS and LAYERS to those of the weights, or begin without LOAD_MODEL",
        )
    network.load_state_dict(held)
    load_moments(optimizer, read_optimizer(optimizer_paths), " or ".join(map(str, optimizer_paths)))


def _is_fixed(key: str) -> bool:
    return not key.startswith(_FREE_PREFIXES) and not key.endswith(_FREE_SUFFIXES)


def _is_plain(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, _PLAIN) for item in items)


def _stated(keys: Keys, names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {json.dumps(keys[name])}" if name in keys else f"no {name}" for name in names)
