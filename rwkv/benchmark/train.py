"""Train the network: warm-up and constant rate (WS), or decay (D) (spec 5)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from rwkv.batches.collate import Batch
from rwkv.batches.loader import fetch, worker_errors
from rwkv.batches.plan import Group, Share, share, steps_from
from rwkv.benchmark.training_batches import (
    configured_training_groups,
    configured_validation_groups,
    read_batch,
    read_padded_batch,
    read_validation_batch,
)
from rwkv.config import TrainConfig
from rwkv.config_file import as_keys
from rwkv.device import memory_errors
from rwkv.errors import ConfigError, InputError, NonFiniteError
from rwkv.locks import only_writer_of
from rwkv.model.dropout import DropoutMasks, mask_seed
from rwkv.model.inputs import counter_hash
from rwkv.model.network import Network, new_network
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.ops.backend import Kernels, compute_dtype, open_compute_device
from rwkv.runtime import log, progress
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import Optimizer, learning_rate, make_optimizer, set_learning_rate, set_peak_rate
from rwkv.training.processes import Processes
from rwkv.training.run import Progress, RunFiles, read_model
from rwkv.training.shared_step import SharedGradients
from rwkv.training.staging import staged
from rwkv.training.step import Launched, StepReport, gradients_alone, reports, train_step
from rwkv.training.tracking import Log, NoLog, Tracker, WandbSettings
from rwkv.training.validate import validate

NAME = "python -m rwkv.train_rwkv"

Made = TypeVar("Made")

_STEPS_BETWEEN_CHECKPOINTS = 500
_FIRST_CHECKPOINT = 50
_MOST_SKIPPED_STEPS = 100
# A learning rate below this share of its peak has decayed.
_DECAYED = 0.1

_ALONE = Processes()


@worker_errors()
@memory_errors("end other programs on it, or lower MAX_TRAIN_GLOBAL_LEN for a new run; the last checkpoint is kept")
def train(config: TrainConfig, processes: Processes = _ALONE) -> int:
    """Run or continue the configured training.

    Args:
        config: The configuration.
        processes: The processes that share its steps. The first one reads and writes the files of the run.

    Returns:
        The exit code.

    Raises:
        BusyError: Another command is running a training of the same name.
        NonFiniteError: Too many steps in a row were not finite.
    """
    if not processes.is_first:
        return _train(config, processes)
    with only_writer_of(config.save_model_folder / config.save_model_prefix, "another SAVE_MODEL_PREFIX"):
        return _train(config, processes)


def _train(config: TrainConfig, processes: Processes) -> int:
    network_spec(config)  # fail before reading data
    device = open_compute_device(processes.device(config.device), config.threads, config.dtype)
    groups, data = configured_training_groups(config)
    validation, validation_data = configured_validation_groups(config)
    keys = as_keys(config)
    files = RunFiles(config.save_model_folder, config.save_model_prefix, config.step_offset, keys, data)
    processes.check_agreement(files.identity + validation_data)
    previous = processes.from_first(lambda: files.progress() if config.resume else None)
    previous = previous or Progress(0, _steps_of_run(config, len(groups)), 0)
    if previous.finished:
        log.info("this run is finished: %s; delete %s to start over", files.weights(previous.total), files.note)
        return _exit_code(config, previous)
    network, optimizer = _starting_point(config, files, previous.done, device, processes)
    first, last = config.step_offset + previous.done, config.step_offset + previous.total - 1
    log.info("%d groups of segments, steps %d to %d of %d", len(groups), first, last, last)

    current = previous
    with _log(config, files, keys, first, processes) as tracker:
        for n, report in _steps(config, network, optimizer, groups, previous, processes):
            step = config.step_offset + n - 1
            current = replace(current, done=n)
            if report.loss is None:
                current = replace(current, skipped=current.skipped + 1)
                log.warning("step %d skipped: its loss or a gradient is not finite (%d so far)", step, current.skipped)
            figures = {"loss": report.loss, "gradient_norm": report.norm, **report.terms}
            rate = _rate(config, n, previous.total)
            tracker.write(step, {"learning_rate": rate, **figures, "skipped_steps": current.skipped})
            if _is_checkpoint(n, len(groups), previous.total, config.step_offset):
                if processes.is_first:
                    files.save(n, network, optimizer)
                log.info("step %d: saved %s", step, files.weights(n))
                if validation and (means := _validate(config, network, validation, processes)):
                    current = replace(current, is_valid=all(map(math.isfinite, means.values())))
                    tracker.write(step, means)
                if processes.is_first:
                    files.record(current)
    return _exit_code(config, current)


def _log(
    config: TrainConfig, files: RunFiles, keys: dict[str, object], first: int, processes: Processes
) -> AbstractContextManager[Log]:
    return Tracker(files.log, _wandb(config), keys, first) if processes.is_first else nullcontext(NoLog())


def _steps_of_run(config: TrainConfig, groups: int) -> int:
    """The number of steps of the run, from step STEP_OFFSET to step EPOCHS * groups, both included."""
    total = int(config.epochs * groups)
    steps = total - config.step_offset + 1
    if steps <= 0 or total == 0:
        least = max(1, config.step_offset)
        got = f"{config.epochs}, with {groups} groups of segments, so the last step is number {total}"
        expected = f"at least {least} / {groups}, for STEP_OFFSET = {config.step_offset}"
        raise InputError("The run would have no steps.", where="EPOCHS", got=got, expected=expected)
    last_rate = _rate(config, steps, steps)
    if config.train_mode == "WS" and steps <= config.warmup_steps:
        log.warning(
            "the run has %d steps and ends before the warm-up: the learning rate reaches only %.2g of %.2g; "
            "lower WARMUP_STEPS to a small part of the run, or raise EPOCHS",
            steps,
            last_rate,
            config.peak_lr,
        )
    if config.train_mode == "D" and config.step_offset > 1 and last_rate > _DECAYED * config.peak_lr:
        log.warning(
            "the run ends before the decay: the learning rate falls only to %.2g of %.2g, because the decay takes the "
            "%d steps of EPOCHS and the run has %d of them; set STEP_OFFSET to 1, or raise EPOCHS",
            last_rate,
            config.peak_lr,
            total,
            steps,
        )
    return steps


def _exit_code(config: TrainConfig, ended: Progress) -> int:
    """0, or 1 after logging why the model is unusable."""
    if faults := ended.faults():
        remedy = _remedy(config.device, config.dtype)
        log.error("the trained model is unusable: %s; %s, and start over with RESUME = false", faults, remedy)
    return int(bool(faults))


def _remedy(device: str, dtype: str) -> str:
    """What to change after a training that was not finite."""
    is_float32 = compute_dtype(dtype, torch.device(device)) == torch.float32
    return "lower PEAK_LR" + ("" if is_float32 else " or use DTYPE float32")


def network_spec(config: TrainConfig) -> NetworkSpec:
    """The configured network.

    By default a head has 32 channels, and a stream its published number of layers. The encoder and the heads have
    4 * CHANNELS hidden columns.

    Raises:
        ConfigError: CHANNELS is not a multiple of HEADS.
    """
    try:
        spec = PUBLISHED.resized(config.channels, config.heads, config.layers)
    except ValueError as error:
        hint = "choose HEADS that divide CHANNELS; the kernels support heads of 16, 32 or 64 channels"
        raise ConfigError("The network cannot be built.", where="HEADS", got=str(error), hint=hint) from error
    return spec.with_dropout(config.dropout)


def _starting_point(
    config: TrainConfig, files: RunFiles, done: int, device: torch.device, processes: Processes
) -> tuple[Network, Optimizer]:
    """Network and optimiser before the first remaining step."""
    # Kinds of CPUs round initial weights differently.
    network = processes.from_first(lambda: new_network(config.seed, network_spec(config))).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()), config.optimizer)
    set_peak_rate(optimizer, config.peak_lr)
    if done:
        processes.from_first(lambda: files.read(done)).restore(network, optimizer)
        return network, optimizer
    if config.load_model:
        model = processes.from_first(lambda: read_model(config.load_model_folder, config.load_model_name))
        model.restore(network, optimizer)
    if processes.is_first:
        files.begin()
    return network, optimizer


def _steps(
    config: TrainConfig,
    network: Network,
    optimizer: Optimizer,
    groups: list[Group],
    previous: Progress,
    processes: Processes,
) -> Iterator[tuple[int, StepReport]]:
    """Take the remaining steps and yield (n, report) after each, where n = 1 is the run's first step.

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
        settles = partial(_is_checkpoint, groups=len(groups), steps=previous.total, first=config.step_offset)
        return _take_steps(config, optimizer, previous, shares, padded, launch, settles)

    def take_step(batch: Batch, seed: int) -> Launched:
        masks = DropoutMasks(torch.tensor([seed], device=network.device))
        on_device = batch.to(network.device)
        report = train_step(network, optimizer, on_device, dtype, mode, masks, gradients, processes.add)
        return lambda: report

    batches = fetch(partial(read_batch, config, shares), visits, workers)
    return _take_steps(config, optimizer, previous, shares, batches, take_step, settles=lambda n: True)


def _visits(config: TrainConfig, groups: Sized, previous: Progress) -> Iterator[tuple[int, int]]:
    """The (epoch, group) of the remaining steps."""
    return steps_from(previous.done, previous.total, len(groups), config.seed)


def _take_steps(
    config: TrainConfig,
    optimizer: Optimizer,
    previous: Progress,
    shares: list[Share],
    batches: Iterable[Made],
    launch: Callable[[Made, int], Launched],
    settles: Callable[[int], bool],
) -> Iterator[tuple[int, StepReport]]:
    """Take steps on batches. launch: starts a step from a batch and a dropout seed. settles: see `reports`."""

    def launched(batches: Iterable[Made]) -> Iterator[tuple[int, Launched]]:
        visits = _visits(config, shares, previous)
        for n, (batch, (_, group)) in enumerate(zip(batches, visits, strict=True), previous.done + 1):
            set_learning_rate(optimizer, _rate(config, n, previous.total))
            yield n, launch(batch, mask_seed(counter_hash(config.seed, n), shares[group].first_row))

    skipped_in_a_row = 0
    with progress(batches, previous.total, "training", "step", previous.done) as bar:
        for n, report in reports(launched(bar), settles):
            bar.set_postfix(loss=_shown(report), refresh=False)
            yield n, report
            skipped_in_a_row = skipped_in_a_row + 1 if report.loss is None else 0
            if skipped_in_a_row >= _MOST_SKIPPED_STEPS:
                hint = f"{_remedy(config.device, config.dtype)}. The last checkpoint is kept."
                what = f"{skipped_in_a_row} steps in a row were not finite."
                raise NonFiniteError(what, where=f"step {config.step_offset + n - 1}", hint=hint)


def _shown(report: StepReport) -> str:
    if report.loss is None:
        return "not finite"
    return f"{report.loss:.4f}" if report.rows else "none"


def _validate(config: TrainConfig, network: Network, groups: list[Group], processes: Processes) -> dict[str, float]:
    dtype = compute_dtype(config.dtype, network.device)
    read, workers = partial(read_validation_batch, config, network.backend_in(dtype)), config.num_fetch_processes
    batches = fetch(read, processes.part(groups), processes.workers(workers), _is_for_gpu(config))
    means = validate(network, batches, dtype, processes.added)
    stated = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    log.info("validation: %s", stated or "no loss, because none of its users has keys")
    return {f"validation_{name}": value for name, value in means.items()}


def _is_for_gpu(config: TrainConfig) -> bool:
    return torch.device(config.device).type == "cuda"


def _wandb(config: TrainConfig) -> WandbSettings | None:
    if not config.use_wandb:
        return None
    return WandbSettings(config.wandb_project_name, config.wandb_resume_id if config.wandb_resume else "")


def _rate(config: TrainConfig, n: int, steps: int) -> float:
    """The learning rate at the run's step n, counted from 1. A decay ends at step EPOCHS * groups."""
    return learning_rate(config.train_mode, n, config.peak_lr, config.warmup_steps, config.step_offset + steps - 1)


def _is_checkpoint(n: int, groups: int, steps: int, first: int) -> bool:
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
