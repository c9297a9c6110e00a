"""Train the network: warm-up and constant rate (WS), or decay (D) (spec 5)."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch

from rwkv.benchmark.training_batches import (
    configured_training_groups,
    configured_validation_groups,
)
from rwkv.benchmark.training_checkpoints import Checkpoints
from rwkv.benchmark.training_steps import is_checkpoint, remedy, step_rate, take_steps
from rwkv.config import TrainConfig
from rwkv.config_file import as_keys
from rwkv.device import memory_errors
from rwkv.errors import ConfigError, InputError
from rwkv.locks import only_writer_of
from rwkv.model.network import Network, new_network
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.ops.backend import open_compute_device
from rwkv.plurals import counted
from rwkv.runtime import log
from rwkv.stopping import ended_by, finishing
from rwkv.training.optimizer import Optimizer, make_optimizer, set_peak_rate
from rwkv.training.processes import Processes
from rwkv.training.run import Progress, RunFiles, read_model
from rwkv.training.step import StepReport
from rwkv.training.tracking import Log, NoLog, Tracker, WandbSettings

NAME = "python -m rwkv.train_rwkv"

# A learning rate below this share of its peak has decayed.
_DECAYED = 0.1

_ALONE = Processes()
_NOTICE = "stopping after this step, with a checkpoint; another Ctrl-C or signal after a second stops at once"


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
        KeyboardInterrupt: A signal asked to stop; a checkpoint of the last step was saved.
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
    if previous.done < previous.total:
        log.info("%s of segments, steps %d to %d of %d", counted(len(groups), "group"), first, last, last)

    notice = _NOTICE if processes.is_first else ""
    with _log(config, files, keys, previous, processes) as tracker, finishing(notice) as asked:
        stop = processes.stop(asked)
        checkpoints = Checkpoints(config, files, network, optimizer, validation, processes, tracker, stop)
        current = noted = checkpoints.validate(previous)
        for n, report in take_steps(config, network, optimizer, groups, previous, processes, stop):
            current = _logged(config, replace(current, done=n), report, tracker)
            if is_checkpoint(n, len(groups), previous.total, config.step_offset):
                current = noted = checkpoints.save_and_validate(current)
        if stop.signal is not None and current.done < current.total:
            if current != noted:
                checkpoints.save(current)
            processes.stopped_by = stop.signal
            raise ended_by(stop.signal)
    return _exit_code(config, current)


def _logged(config: TrainConfig, current: Progress, report: StepReport, tracker: Log) -> Progress:
    """Log the step after which the run is at `current`. Returns the progress with it counted if it was skipped."""
    step = config.step_offset + current.done - 1
    if report.loss is None:
        current = replace(current, skipped=current.skipped + 1)
        log.warning("step %d skipped: its loss or a gradient is not finite (%d so far)", step, current.skipped)
    figures = {"loss": report.loss, "gradient_norm": report.norm, **report.terms}
    rate = step_rate(config, current.done, current.total)
    tracker.write(step, {"learning_rate": rate, **figures, "skipped_steps": current.skipped})
    return current


def _log(
    config: TrainConfig, files: RunFiles, keys: dict[str, object], previous: Progress, processes: Processes
) -> AbstractContextManager[Log]:
    if not processes.is_first:
        return nullcontext(NoLog())
    first = config.step_offset + previous.done
    return Tracker(files.log, _wandb(config), keys, first, not previous.awaits_validation)


def _steps_of_run(config: TrainConfig, groups: int) -> int:
    """The number of steps of the run, from step STEP_OFFSET to step EPOCHS * groups, both included."""
    total = int(config.epochs * groups)
    steps = total - config.step_offset + 1
    if steps <= 0 or total == 0:
        least = max(1, config.step_offset)
        got = f"{config.epochs}, with {counted(groups, 'group')} of segments, so the last step is number {total}"
        expected = f"at least {least} / {groups}, for STEP_OFFSET = {config.step_offset}"
        hint = "raise EPOCHS, or lower STEP_OFFSET"
        raise InputError("The run would have no steps.", where="EPOCHS", got=got, expected=expected, hint=hint)
    last_rate = step_rate(config, steps, steps)
    if config.train_mode == "WS" and steps <= config.warmup_steps:
        log.warning(
            "the run has %s and ends before the warm-up: the learning rate reaches only %.2g of %.2g; "
            "lower WARMUP_STEPS to a small part of the run, or raise EPOCHS",
            counted(steps, "step"),
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
        instead = remedy(config.device, config.dtype)
        log.error("the trained model is unusable: %s; %s, and start over with RESUME = false", faults, instead)
    return int(bool(faults))


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


def _wandb(config: TrainConfig) -> WandbSettings | None:
    if not config.use_wandb:
        return None
    return WandbSettings(config.wandb_project_name, config.wandb_resume_id if config.wandb_resume else "")
