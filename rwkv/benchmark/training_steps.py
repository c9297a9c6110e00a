"""The steps of a training: their batches, seeds and learning rates, and after which of them it is saved (spec 5)."""

from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from typing import TypeVar

import torch

from rwkv.batches.collate import Batch
from rwkv.batches.loader import fetch
from rwkv.batches.plan import Group, Share, share, steps_from
from rwkv.benchmark.training_batches import read_batch, read_padded_batch
from rwkv.config import TrainConfig
from rwkv.errors import NonFiniteError
from rwkv.model.dropout import DropoutMasks, mask_seed
from rwkv.model.inputs import counter_hash
from rwkv.model.network import Network
from rwkv.ops.backend import Kernels, compute_dtype
from rwkv.runtime import progress
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import Optimizer, learning_rate, set_learning_rate
from rwkv.training.processes import Processes
from rwkv.training.run import Progress
from rwkv.training.shared_step import SharedGradients
from rwkv.training.staging import staged
from rwkv.training.step import Launched, StepReport, gradients_alone, reports, train_step
from rwkv.training.stop import Stop

Made = TypeVar("Made")

_STEPS_BETWEEN_CHECKPOINTS = 500
_FIRST_CHECKPOINT = 50
_MOST_SKIPPED_STEPS = 100


def take_steps(
    config: TrainConfig,
    network: Network,
    optimizer: Optimizer,
    groups: list[Group],
    previous: Progress,
    processes: Processes,
    stop: Stop,
) -> Iterator[tuple[int, StepReport]]:
    """Take the remaining steps and yield (n, report) after each, where n = 1 is the run's first step.

    After an early end by `stop`, the last report is that of the last step that was started.
    Steps are recorded and replayed on a GPU if Triton's kernels run the network; its plain form waits for the GPU.
    """
    dtype, mode = compute_dtype(config.dtype, network.device), config.loss_mode
    gradients = gradients_alone(network)
    if processes.count > 1:
        shared = SharedGradients(network)
        processes.connect(network.device, shared.sums())
        gradients = shared.parts
    shares = [share(group, processes.rank, processes.count) for group in groups]
    visits, workers = _visits(config, groups, previous), processes.workers(config.num_fetch_processes)
    if network.backend_in(dtype).kernels is Kernels.TRITON:
        read = partial(read_padded_batch, config, shares, processes.count)
        padded = staged(fetch(read, visits, workers, True), network.device)
        launch = RecordedSteps(network, optimizer, dtype, mode, gradients, processes.add).launch
        settles = partial(is_checkpoint, groups=len(groups), steps=previous.total, first=config.step_offset)
        return _launch_all(config, optimizer, previous, shares, padded, launch, settles, stop)

    def take_step(batch: Batch, seed: int) -> Launched:
        masks = DropoutMasks(torch.tensor([seed], device=network.device))
        on_device = batch.to(network.device)
        report = train_step(network, optimizer, on_device, dtype, mode, masks, gradients, processes.add)
        return lambda: report

    batches = fetch(partial(read_batch, config, shares), visits, workers)
    return _launch_all(config, optimizer, previous, shares, batches, take_step, lambda n: True, stop)


def _visits(config: TrainConfig, groups: Sized, previous: Progress) -> Iterator[tuple[int, int]]:
    """The (epoch, group) of the remaining steps."""
    return steps_from(previous.done, previous.total, len(groups), config.seed)


def _launch_all(
    config: TrainConfig,
    optimizer: Optimizer,
    previous: Progress,
    shares: list[Share],
    batches: Iterable[Made],
    launch: Callable[[Made, int], Launched],
    settles: Callable[[int], bool],
    stop: Stop,
) -> Iterator[tuple[int, StepReport]]:
    """Take steps on batches. launch: starts a step from a batch and a dropout seed. settles: see `reports`."""

    def launched(batches: Iterable[Made]) -> Iterator[tuple[int, Launched]]:
        visits = _visits(config, shares, previous)
        for n, (batch, (_, group)) in enumerate(zip(batches, visits, strict=True), previous.done + 1):
            if stop.is_before(n):
                return
            set_learning_rate(optimizer, step_rate(config, n, previous.total))
            yield n, launch(batch, mask_seed(counter_hash(config.seed, n), shares[group].first_row))

    skipped_in_a_row = 0
    with progress(batches, previous.total, "training", "step", previous.done) as bar:
        for n, report in reports(launched(bar), settles):
            bar.set_postfix(loss=_shown(report), refresh=False)
            yield n, report
            skipped_in_a_row = skipped_in_a_row + 1 if report.loss is None else 0
            if skipped_in_a_row >= _MOST_SKIPPED_STEPS:
                hint = f"{remedy(config.device, config.dtype)}. The last checkpoint is kept."
                what = f"{skipped_in_a_row} steps in a row were not finite."
                raise NonFiniteError(what, where=f"step {config.step_offset + n - 1}", hint=hint)


def _shown(report: StepReport) -> str:
    if report.loss is None:
        return "not finite"
    return f"{report.loss:.4f}" if report.rows else "none"


def step_rate(config: TrainConfig, n: int, steps: int) -> float:
    """The learning rate at the run's step n, counted from 1. A decay ends at step EPOCHS * groups."""
    return learning_rate(config.train_mode, n, config.peak_lr, config.warmup_steps, config.step_offset + steps - 1)


def is_checkpoint(n: int, groups: int, steps: int, first: int) -> bool:
    """Whether to save after step n: every 500 steps of an epoch, at step number 50, and at the end.

    If an epoch has fewer steps, every 500 steps of the run.

    Args:
        n: The step of the run, counted from 1.
        groups: Steps of an epoch.
        steps: Steps of the run.
        first: The number of the run's first step.
    """
    counted = (n - 1) % groups + 1 if groups >= _STEPS_BETWEEN_CHECKPOINTS else n
    return counted % _STEPS_BETWEEN_CHECKPOINTS == 0 or n == steps or first + n - 1 == _FIRST_CHECKPOINT


def remedy(device: str, dtype: str) -> str:
    """What to change after a training that was not finite."""
    is_float32 = compute_dtype(dtype, torch.device(device)) == torch.float32
    return "lower PEAK_LR" + ("" if is_float32 else " or use DTYPE float32")
