"""Predict the benchmark's reviews of the configured users, and write the result files (spec 6)."""

from contextlib import ExitStack
from functools import partial

import torch

from rwkv.batches.plan import Group, filled_groups, history_places
from rwkv.benchmark.databases import PROCESS_DATA, key_database
from rwkv.benchmark.evaluate_groups import Evaluated, Todo, evaluate_groups, review_store
from rwkv.config import EvaluateConfig
from rwkv.data.database import Database
from rwkv.data.key_store import KeyStore
from rwkv.data.store import ReviewStore
from rwkv.device import open_device
from rwkv.errors import InputError
from rwkv.evaluation.model_note import model_at
from rwkv.evaluation.results import ResultFiles
from rwkv.evaluation.summary import common_users, format_means
from rwkv.locks import only_writer_in, only_writer_of
from rwkv.model.slices import ROWS_OF_A_GPU_SLICE
from rwkv.model.weights_file import load_weights
from rwkv.ops.backend import open_compute_device
from rwkv.plurals import counted
from rwkv.runtime import Failures, log, progress
from rwkv.workers import LocalPool, Pool

NAME = "python -m rwkv.get_result"

# Short histories share a batch of up to this many rows. The batches depend only on the configured users.
_ROWS_TOGETHER = 65_536
# The same on a GPU: as many as a slice holds, to hide the launch time of kernels.
_ROWS_TOGETHER_ON_A_GPU = ROWS_OF_A_GPU_SLICE


def evaluate(config: EvaluateConfig, pool: Pool | None = None) -> int:
    """Evaluate the configured users who have no results yet, and print the means over all of them.

    Args:
        config: The configuration.
        pool: The workers; by default one process for each of DEVICES.

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
        return _evaluate(config, pool or LocalPool(len(config.all_devices)))


def _evaluate(config: EvaluateConfig, pool: Pool) -> int:
    _check_devices(config, pool)
    load_weights(config.model_path)  # fail early, and warn once
    groups = _groups(config)
    _check_databases(config)
    raw_folder = config.raw_folder if config.raw else None
    results = ResultFiles(config.result_folder, raw_folder, config.file_ahead, config.file_imm)
    done = results.done()
    users = {place.user for group in groups for place in group}
    results.claim(users, model_at(config.model_path))
    log.info("%s, %s of them done before", counted(len(users), "user"), f"{len(users & done):,}")

    todo = [Todo(group, frozenset(place.user for place in group if place.user in done)) for group in groups]
    todo = [part for part in todo if len(part.done) < len(part.group)]
    rows = [part.rows for part in todo]
    failures, left_out, computed_by = Failures(), 0, set[str]()
    with progress((), sum(rows), "evaluation", "row") as bar:
        for evaluated in pool.spread(partial(evaluate_groups, config), todo, rows):
            _write(config, evaluated, results, failures)
            left_out += evaluated.left_out
            computed_by.add(evaluated.computed_by)
            bar.update(evaluated.rows)
    results.finish()
    _print_means(results, set(config.users))
    if left_out:
        log.info("%s left out: no earlier review to predict from", counted(left_out, "key"))
    if len(computed_by) > 1:
        log.warning("computed by %s, whose results differ by rounding", ", and ".join(sorted(computed_by)))
    return failures.exit_code()


def _write(config: EvaluateConfig, evaluated: Evaluated, results: ResultFiles, failures: Failures) -> None:
    """Write the results of a group, the curve weights of a user before the lines."""
    for user in evaluated.without_keys:
        log.info("user %d has no reviews to predict", user)
    for user, error in sorted(evaluated.problems.items()):
        failures.add(user, error)
    for lines in evaluated.lines:
        if config.raw:
            with _weight_database(config, is_checked=True) as database:
                database.put({f"{lines.user}_w": evaluated.weights[lines.user]})
        results.append(lines)


def _print_means(results: ResultFiles, configured: set[int]) -> None:
    """Print the metrics of both predictions over all configured users with results."""
    scores = results.scores()
    users = [user for user in common_users(scores) if user in configured]
    if not users:
        print("No user has reviews to predict, so there are no metrics.")
        return
    print(format_means(scores, users))


def _check_devices(config: EvaluateConfig, pool: Pool) -> None:
    """Raise DeviceError early if a device of this machine is unusable."""
    first, *others = config.all_devices
    if pool.is_local or first.partition(":")[0] == "cpu":
        key = "DEVICES" if config.devices else "DEVICE"
        open_compute_device(first, config.threads, config.dtype, key)
        for name in others:
            open_device(name, config.threads, key)


def _groups(config: EvaluateConfig) -> list[Group]:
    """The configured users in the store, grouped into batches."""
    with review_store(config).open() as database:
        places = history_places(ReviewStore(database), config.users)
    if not places:
        raise InputError(
            "None of the configured users is in the store.",
            where=str(config.dataset_lmdb_path),
            got=f"users {config.users[0]} to {config.users[-1]}",
            hint=f"correct USER_START and USER_END, or USER_IDS, or run `{PROCESS_DATA}` for these users",
        )
    if len(places) < len(config.users):
        missing = len(config.users) - len(places)
        log.info("not in the store: %s of %s", f"{missing:,}", counted(len(config.users), "configured user"))
    is_on_gpu = torch.device(config.all_devices[0]).type == "cuda"
    return filled_groups(places, _ROWS_TOGETHER_ON_A_GPU if is_on_gpu else _ROWS_TOGETHER)


def _check_databases(config: EvaluateConfig) -> None:
    """Raise StoreError early if a database is unusable, instead of for every user or after hours."""
    with key_database(config).open() as database:
        KeyStore(database, config.label_filter_key_prefix).check_begun()
    if config.raw:
        _weight_database(config).close()


def _weight_database(config: EvaluateConfig, is_checked: bool = False) -> Database:
    """The database of curve weights, for RAW. It must not be open while worker processes start and inherit it."""
    return Database(config.raw_db_path, config.raw_db_size, "RAW_DB_SIZE", is_checked=is_checked)
