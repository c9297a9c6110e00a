"""Train the network: warm-up and constant rate (WS), or decay (D) (spec 5)."""

from collections.abc import Iterator
from functools import partial

import torch

from rwkv.batches.collate import Batch
from rwkv.batches.loader import DatabasePlace, fetch, training_batch
from rwkv.batches.plan import Group, history_places, packed_groups, segment_places, steps_from, training_groups
from rwkv.commands.process_data import NAME as PROCESS_DATA
from rwkv.config import TrainConfig, as_keys
from rwkv.data.store import ReviewStore
from rwkv.device import TORCH_DTYPES, open_device
from rwkv.errors import InputError, NonFiniteError
from rwkv.model.inputs import counter_hash
from rwkv.model.network import Network, new_network
from rwkv.runtime import log, progress
from rwkv.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from rwkv.training.run import Progress, RunFiles, load_model
from rwkv.training.step import StepReport, train_step
from rwkv.training.tracking import Tracker, WandbSettings
from rwkv.training.validate import validate, validation_batch

NAME = "python -m rwkv.train_rwkv"

_STEPS_BETWEEN_CHECKPOINTS = 500
_FIRST_CHECKPOINT = 50
_MOST_SKIPPED_STEPS = 100

# The 63 low bits of a hash: what a torch generator takes as a seed.
_SEED_MASK = (1 << 63) - 1


def train(config: TrainConfig) -> int:
    """Run the configured training to its end, or go on with it. Returns the exit code."""
    device = open_device(config.device, config.threads)
    groups, validation = _training_groups(config), _validation_groups(config)
    total = int(config.epochs * len(groups))
    if total == 0:
        raise InputError("The run would have no step.", where="EPOCHS", got=str(config.epochs))
    files = RunFiles(config.save_model_folder, config.save_model_prefix, config.step_offset)
    before = files.progress(as_keys(config), total) if config.resume else None
    if before is not None and before.finished:
        log.info("this run is finished: %s; remove %s to begin anew", files.weights(before.done), files.note)
        return 0
    done = before.done if before is not None else 0
    log.info("%d groups of segments, steps %d to %d of %d", len(groups), done + 1, total, total)

    network = new_network(config.seed).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()))
    if before is not None:
        files.load(done, network, optimizer)
    elif config.load_model:
        load_model(config.load_model_folder, config.load_model_name, network, optimizer)

    batches = fetch(
        partial(_batch, config, groups), steps_from(done, total, len(groups), config.seed), config.num_fetch_processes
    )
    wandb = WandbSettings(config.wandb_project_name, config.wandb_resume_id if config.wandb_resume else "")
    first_step = config.step_offset + done
    with Tracker(files.log, wandb if config.use_wandb else None, as_keys(config), first_step) as tracker:
        for n, report in _steps(config, network, optimizer, batches, done, total):
            step = config.step_offset + n - 1
            tracker.write(step, {"learning_rate": _rate(config, n, total), "loss": report.loss, **report.terms})
            if _is_checkpoint(n, len(groups), total):
                files.save(Progress(n, total, n == total), as_keys(config), network, optimizer)
                held_out = fetch(partial(_held_out, config), validation, config.num_fetch_processes)
                reported = validate(network, held_out, TORCH_DTYPES[config.dtype], device)
                tracker.write(step, {f"validation_{name}": value for name, value in reported.items()})
                shown = ", ".join(f"{name} {value:.4f}" for name, value in reported.items())
                log.info("step %d: saved %s; validation: %s", step, files.weights(n), shown)
    return 0


def _steps(
    config: TrainConfig,
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    done: int,
    total: int,
) -> Iterator[tuple[int, StepReport]]:
    """Take the steps that are left; gives (n, what it did) after each. n = 1 is the run's first step."""
    device = next(network.parameters()).device
    rng = torch.Generator(device)
    skipped = in_a_row = 0
    with progress(batches, total, "training", "step", done) as bar:
        for n, batch in enumerate(bar, done + 1):
            set_learning_rate(optimizer, _rate(config, n, total))
            rng.manual_seed(counter_hash(config.seed, n) & _SEED_MASK)
            dtype = TORCH_DTYPES[config.dtype]
            report = train_step(network, optimizer, batch.to(device), dtype, config.loss_mode, rng)
            in_a_row = in_a_row + 1 if report.loss is None else 0
            skipped += report.loss is None
            if report.loss is None:
                log.warning("step %d skipped: its loss or a gradient is not finite (%d so far)", n, skipped)
            if in_a_row >= _MOST_SKIPPED_STEPS:
                hint = "lower PEAK_LR or use DTYPE float32; the last checkpoint is kept"
                raise NonFiniteError(f"{in_a_row} steps in a row were not finite.", where=f"step {n}", hint=hint)
            bar.set_postfix(loss=f"{report.loss or float('nan'):.4f}", refresh=False)
            yield n, report


def _rate(config: TrainConfig, n: int, total: int) -> float:
    return learning_rate(config.train_mode, n, config.peak_lr, config.warmup_steps, total)


def _is_checkpoint(n: int, groups: int, total: int) -> bool:
    """Every 500 steps of an epoch, at the run's step 50 and at its last."""
    in_epoch = (n - 1) % groups + 1
    return in_epoch % _STEPS_BETWEEN_CHECKPOINTS == 0 or n in (_FIRST_CHECKPOINT, total)


def _training_groups(config: TrainConfig) -> list[Group]:
    with _training_store(config).open() as database:
        places = segment_places(ReviewStore(database), config.train_users)
    if not places:
        raise InputError(
            "None of the training users is in the store.",
            where=str(config.train_dataset_lmdb_path),
            got=f"users {config.train_users_start} to {config.train_users_end}",
            hint="correct TRAIN_USERS_START and _END, or run `python -m rwkv.data_processing` for these users",
        )
    return training_groups(places, config.max_train_global_len)


def _validation_groups(config: TrainConfig) -> list[Group]:
    with _validation_store(config).open() as database:
        places = history_places(ReviewStore(database), config.validate_users)
    if not places:
        log.warning("none of the validation users is in %s", config.validate_dataset_lmdb_path)
    return packed_groups(places, config.max_train_global_len)


def _batch(config: TrainConfig, groups: list[Group], visit: tuple[int, int]) -> Batch:
    epoch, group = visit
    return training_batch(ReviewStore(_training_store(config).shared()), groups[group], config.seed, epoch)


def _held_out(config: TrainConfig, group: Group) -> Batch:
    return validation_batch(ReviewStore(_validation_store(config).shared()), group)


def _training_store(config: TrainConfig) -> DatabasePlace:
    path, size = config.train_dataset_lmdb_path, config.train_dataset_lmdb_size
    return DatabasePlace(path, size, "TRAIN_DATASET_LMDB_SIZE", PROCESS_DATA)


def _validation_store(config: TrainConfig) -> DatabasePlace:
    path, size = config.validate_dataset_lmdb_path, config.validate_dataset_lmdb_size
    return DatabasePlace(path, size, "VALIDATE_DATASET_LMDB_SIZE", PROCESS_DATA)
