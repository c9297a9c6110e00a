"""Predict the benchmark's reviews of the configured users, and write the result files (spec 6)."""

from contextlib import ExitStack
from functools import partial

import torch

from rwkv.batches.loader import fetch, worker_errors
from rwkv.batches.plan import Group, filled_groups, history_places
from rwkv.benchmark.databases import PROCESS_DATA, key_database, review_database
from rwkv.config import EvaluateConfig
from rwkv.data.database import Database, DatabasePlace
from rwkv.data.key_store import KeyStore
from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from rwkv.evaluation.history_predictions import (
    EvaluationBatch,
    curve_weights,
    evaluation_batch,
    last_rows,
    not_finite,
    predict_users,
)
from rwkv.evaluation.model_note import model_at
from rwkv.evaluation.results import ResultFiles
from rwkv.evaluation.summary import common_users, format_means
from rwkv.locks import only_writer_in, only_writer_of
from rwkv.model.checkpoint import load_network, tensor_bytes
from rwkv.model.network import Network
from rwkv.model.slices import ROWS_OF_A_GPU_SLICE
from rwkv.ops.backend import Backend, compute_dtype, open_compute_device
from rwkv.runtime import Failures, log, progress_by_size

NAME = "python -m rwkv.get_result"

# Short histories share a batch of up to this many rows. The batches depend only on the configured users.
_ROWS_TOGETHER = 65_536
# The same on a GPU: as many as a slice holds, to hide the launch time of kernels.
_ROWS_TOGETHER_ON_A_GPU = ROWS_OF_A_GPU_SLICE


@worker_errors()
def evaluate(config: EvaluateConfig) -> int:
    """Evaluate the configured users who have no results yet, and print the means over all of them.

    Returns:
        The exit code.

    Raises:
        ConfigError: Existing results are from another model.
        BusyError: Another command is writing to one of the files.
    """
    with ExitStack() as stack:
        for folder in (config.result_folder, config.raw_folder)[: 1 + config.raw]:
            for name in (config.file_ahead, config.file_imm):
                stack.enter_context(only_writer_of(folder / name, "other names in FILE_AHEAD and FILE_IMM"))
        if config.raw:
            stack.enter_context(only_writer_in(config.raw_db_path, "another RAW_DB_PATH"))
        return _evaluate(config)


def _evaluate(config: EvaluateConfig) -> int:
    device = open_compute_device(config.device, config.threads, config.dtype)
    network = load_network(config.model_path, device, compute_dtype(config.dtype, device))
    groups = _groups(config)
    _check_databases(config)
    raw_folder = config.raw_folder if config.raw else None
    results = ResultFiles(config.result_folder, raw_folder, config.file_ahead, config.file_imm)
    done = results.done()
    users = {place.user for group in groups for place in group}
    results.claim(users, model_at(config.model_path))
    log.info("%d users, %d of them done before", len(users), len(users & done))

    todo = [group for group in groups if any(place.user not in done for place in group)]
    rows = [sum(place.rows for place in group) for group in todo]
    read = partial(_read_users, config, network.backend)
    batches = fetch(read, todo, config.num_fetch_processes, pin_memory=device.type == "cuda")
    failures, left_out = Failures(), 0
    for batch in progress_by_size(batches, rows, "evaluation", "row"):
        for user in sorted(batch.problems.keys() - done):
            failures.add(user, batch.problems[user])
        left_out += sum(targets.left_out for targets in batch.targets if targets.user not in done)
        _evaluate_batch(config, network, batch, done, results, failures)
    results.finish()
    _print_means(results, set(config.users))
    if left_out:
        log.info("%d keys left out: they have no earlier review to predict from", left_out)
    return failures.exit_code()


def _evaluate_batch(
    config: EvaluateConfig,
    network: Network,
    batch: EvaluationBatch,
    done: set[int],
    results: ResultFiles,
    failures: Failures,
) -> None:
    """Predict a batch and write the results of users without any.

    The heads also run for users with results, because rounding depends on the number of rows.
    """
    for targets in batch.targets:
        if len(targets) == 0 and targets.user not in done:
            log.info("user %d has no reviews to predict", targets.user)
    predictable = [targets for targets in batch.targets if len(targets) > 0]
    if batch.batch is None or done.issuperset(targets.user for targets in predictable):
        return
    x = last_rows(network, batch.batch)
    for targets, predictions in zip(predictable, predict_users(network, x, predictable), strict=True):
        user = targets.user
        if user in done:
            continue
        if not predictions.is_finite:
            failures.add(user, not_finite(f"{config.model_path}, user {user}", network.dtype))
            continue
        if config.raw:
            with _weight_database(config, is_checked=True) as database:
                database.put({f"{user}_w": tensor_bytes(curve_weights(network, x, targets))})
        results.append(predictions)


def _print_means(results: ResultFiles, configured: set[int]) -> None:
    """Print the metrics of both predictions over all configured users with results."""
    scores = results.scores()
    users = [user for user in common_users(scores) if user in configured]
    if not users:
        print("No user has reviews to predict, so there are no metrics.")
        return
    print(format_means(scores, users))


def _groups(config: EvaluateConfig) -> list[Group]:
    """The configured users in the store, grouped into batches."""
    with _store(config).open() as database:
        places = history_places(ReviewStore(database), config.users)
    if not places:
        raise InputError(
            "None of the configured users is in the store.",
            where=str(config.dataset_lmdb_path),
            got=f"users {config.users[0]} to {config.users[-1]}",
            hint=f"correct USER_START and USER_END, or run `{PROCESS_DATA}` for these users",
        )
    if len(places) < len(config.users):
        log.info("%d of %d configured users are not in the store", len(config.users) - len(places), len(config.users))
    is_on_gpu = torch.device(config.device).type == "cuda"
    return filled_groups(places, _ROWS_TOGETHER_ON_A_GPU if is_on_gpu else _ROWS_TOGETHER)


def _check_databases(config: EvaluateConfig) -> None:
    """Raise StoreError early if a database is unusable, instead of for every user or after hours."""
    with key_database(config).open() as database:
        KeyStore(database, config.label_filter_key_prefix).check_begun()
    if config.raw:
        _weight_database(config).close()


def _read_users(config: EvaluateConfig, backend: Backend, group: Group) -> EvaluationBatch:
    """In a worker process: read a group of users."""
    keys = KeyStore(key_database(config).shared(), config.label_filter_key_prefix)
    return evaluation_batch(ReviewStore(_store(config).shared()), keys, group, backend)


def _store(config: EvaluateConfig) -> DatabasePlace:
    return review_database(config.dataset_lmdb_path, config.dataset_lmdb_size, "DATASET_LMDB_SIZE")


def _weight_database(config: EvaluateConfig, is_checked: bool = False) -> Database:
    """The database of curve weights, for RAW. It must not be open while worker processes start and inherit it."""
    return Database(config.raw_db_path, config.raw_db_size, "RAW_DB_SIZE", is_checked=is_checked)
