"""The databases of the benchmark's commands: where each lies, which users go into one, and how it is filled."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rwkv.config import Config
from rwkv.data.database import DatabasePlace
from rwkv.data.revlogs import list_users
from rwkv.errors import InputError
from rwkv.runtime import Failures, log, progress
from rwkv.workers import map_users

# The commands that fill them.
FIND_KEYS = "python -m rwkv.find_equalize_test_reviews"
PROCESS_DATA = "python -m rwkv.data_processing"

Result = TypeVar("Result")

# Users a transaction: few enough to lose little work at a kill, many enough that syncing the disk does not matter.
_BATCH = 32


def key_database(config: Config) -> DatabasePlace:
    """Where other commands find the keys, by their configuration."""
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    return DatabasePlace(path, size, "LABEL_FILTER_LMDB_SIZE", FIND_KEYS)


def review_database(path: Path, size: int, size_key: str) -> DatabasePlace:
    """Where other commands find a review store. size_key: the key of their configuration that gives the size."""
    return DatabasePlace(path, size, size_key, PROCESS_DATA)


def users_with_history(data_path: Path, wanted: Sequence[int]) -> list[int]:
    """Those of the configured users that the dataset holds; the others are counted in the log."""
    present = set(list_users(data_path))
    users = [user for user in wanted if user in present]
    if not users:
        raise InputError(
            "None of the configured users is in the dataset.",
            where=str(data_path),
            got=f"users {wanted[0]} to {wanted[-1]}" if wanted else "no users",
            expected=f"some of users {min(present)} to {max(present)}",
            hint="correct USER_START and USER_END",
        )
    if len(users) < len(wanted):
        log.info("%d of %d configured users are not in the dataset", len(wanted) - len(users), len(wanted))
    return users


def write_outcomes(
    job: Callable[[int], Result],
    users: list[int],
    processes: int,
    write: Callable[[list[tuple[int, Result]]], None],
    what: str,
) -> Failures:
    """Run `job` for all users and hand its results to `write` in batches; users whose data is bad are collected."""
    failures = Failures()
    batch: list[tuple[int, Result]] = []
    for outcome in progress(map_users(job, users, processes), len(users), what):
        if outcome.error is not None:
            failures.add(outcome.user, outcome.error)
        elif outcome.result is not None:
            batch.append((outcome.user, outcome.result))
        if len(batch) >= _BATCH:
            write(batch)
            batch = []
    if batch:
        write(batch)
    return failures
