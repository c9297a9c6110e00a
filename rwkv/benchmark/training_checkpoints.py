"""The checkpoints of a training, and the validation after each (spec 5)."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch

from rwkv.batches.loader import fetch
from rwkv.batches.plan import Group
from rwkv.benchmark.training_batches import read_validation_batch
from rwkv.config import TrainConfig
from rwkv.model.network import Network
from rwkv.ops.backend import compute_dtype
from rwkv.runtime import log
from rwkv.stopping import ended_by
from rwkv.training.optimizer import Optimizer
from rwkv.training.processes import Processes
from rwkv.training.run import Progress, RunFiles
from rwkv.training.stop import Stop
from rwkv.training.tracking import VALIDATION_PREFIX, Log
from rwkv.training.validate import validate


@dataclass(frozen=True)
class Checkpoints:
    """What the checkpoints of a run are made of, and where they go.

    Attributes:
        config: The configuration.
        files: The files of the run, which the first process writes.
        network: The network.
        optimizer: Its optimiser.
        validation: Groups of validation histories; may be empty.
        processes: The processes of the run.
        tracker: The log.
        stop: The processes' agreement to stop, also early in a validation.
    """

    config: TrainConfig
    files: RunFiles
    network: Network
    optimizer: Optimizer
    validation: list[Group]
    processes: Processes
    tracker: Log
    stop: Stop

    def save(self, current: Progress) -> None:
        """Write and note the checkpoint after the latest step.

        Raises:
            RwkvError: The processes have different weights.
        """
        self.processes.check_weights(self.network)
        if self.processes.is_first:
            self.files.save(current.done, self.network, self.optimizer)
            self.files.record(current)
        self.processes.wait()  # none ends before it is noted
        log.info("step %d: saved %s", self.config.step_offset + current.done - 1, self.files.weights(current.done))

    def save_and_validate(self, current: Progress) -> Progress:
        """Save a checkpoint, and validate it. A stopped validation is repeated when the run goes on.

        Raises:
            KeyboardInterrupt: The run was asked to stop.
        """
        current = replace(current, awaits_validation=bool(self.validation))
        self.save(current)
        return self.validate(current)

    def validate(self, current: Progress) -> Progress:
        """Validate the latest checkpoint, if it awaits that. Raises as `save_and_validate`."""
        if not current.awaits_validation:
            return current
        current = replace(current, awaits_validation=False)
        if means := self._means():
            current = replace(current, is_valid=all(map(math.isfinite, means.values())))
            self.tracker.write(self.config.step_offset + current.done - 1, means)
        if self.processes.is_first:
            self.files.record(current)
        return current

    def _means(self) -> dict[str, float]:
        config, processes = self.config, self.processes
        dtype = compute_dtype(config.dtype, self.network.device)
        read = partial(read_validation_batch, config, self.network.backend_in(dtype))
        workers = processes.workers(config.num_fetch_processes)
        is_for_gpu = torch.device(config.device).type == "cuda"
        batches = fetch(read, processes.part(self.validation), workers, is_for_gpu)
        means = validate(self.network, self.stop.until_asked(batches), dtype, processes.added)
        processes.stopped_by = self.stop.agreed_now(processes.added)
        if processes.stopped_by is not None:
            raise ended_by(processes.stopped_by)
        stated = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        log.info("validation: %s", stated or "no loss, because none of its users has keys")
        return {f"{VALIDATION_PREFIX}{name}": value for name, value in means.items()}
