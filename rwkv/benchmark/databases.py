"""The databases of the benchmark's commands: their places, their users, and how they are filled."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rwkv.config import Config
from rwkv.data.database import DatabasePlace
from rwkv.data.revlogs import list_users
from rwkv.errors import InputError
from rwkv.plurals import counted
from rwkv.runtime import Failures, log, progress
from rwkv.workers import Pool

# The commands that fill them.
FIND_KEYS = "python -m rwkv.find_equalize_test_reviews"
PROCESS_DATA = "python -m rwkv.data_processing"

Result = TypeVar("Result")

# Users per transaction: few enough that a kill loses little work, many enough that syncing costs little time.
_BATCH = 32


def key_database(config: Config) -> DatabasePlace:
    """The place of the configured key database."""
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    return DatabasePlace(path, size, "LABEL_FILTER_LMDB_SIZE", FIND_KEYS)


def review_database(path: Path, size: int, size_key: str) -> DatabasePlace:
    """The place of a review store. size_key: the configuration key of its size, for error messages."""
    return DatabasePlace(path, size, size_key, PROCESS_DATA)


def users_with_history(data_path: Path, configured: Sequence[int]) -> list[int]:
    """The configured users that are in the dataset. Logs how many are not.

    Raises:
        InputError: None of them is.
    """
    present = set(list_users(data_path))
    users = [user for user in configured if user in present]
    if not users:
        raise InputError(
            "None of the configured users is in the dataset.",
            where=str(data_path),
            got=f"users {configured[0]} to {configured[-1]}" if configured else "no users",
            expected=f"users between {min(present)} and {max(present)}",
            hint="correct USER_START and USER_END, or USER_IDS",
        )
    if len(users) < len(configured):
        missing = len(configured) - len(users)
        log.info("not in the dataset: %s of %s", f"{missing:,}", counted(len(configured), "configured user"))
    return users


def write_outcomes(
    job: Callable[[int], Result],
    users: list[int],
    pool: Pool,
    write: Callable[[list[tuple[int, Result]]], None],
    what: str,
) -> Failures:
    """Run a job for all users and write its results in batches.

    Args:
        job: A picklable function of a user.
        users: The users.
        pool: The workers.
        write: Writes (user, result) pairs.
        what: The title of the progress bar.

    Returns:
        The users with bad data, which were skipped.
    """
    failures = Failures()
    batch: list[tuple[int, Result]] = []
    for outcome in progress(pool.map(job, users), len(users), what):
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
