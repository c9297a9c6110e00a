"""Which users a command works on, and the writing of what its workers return."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rwkv.data.revlogs import list_users
from rwkv.errors import InputError
from rwkv.runtime import Failures, log, progress
from rwkv.workers import map_users

Result = TypeVar("Result")

# Users a transaction: few enough to lose little work at a kill, many enough that syncing the disk does not matter.
_BATCH = 32
# Users that a message names.
_SHOWN = 10


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


def users_in(folder: Path, wanted: Sequence[int] | None = None) -> list[int]:
    """The users of a folder on the command line, or those of them that are wanted there; the log tells of others.

    Raises InputError where there is none.
    """
    if not any(folder.glob("revlogs/user_id=*")):
        raise InputError(
            "There are no reviews to read.",
            where=str(folder),
            expected="a folder that `rwkv import` wrote, or a dataset in the layout of anki-revlogs-10k",
            hint="import a collection first: rwkv import collection.colpkg --out mine",
        )
    present = list_users(folder)
    if wanted is None:
        return present
    known = set(present)
    lacking = [user for user in wanted if user not in known]
    if len(lacking) == len(wanted):
        what = "The user is not in the folder." if len(wanted) == 1 else "None of the users is in the folder."
        got, expected = shown_users(lacking), f"one of: {shown_users(present)}"
        raise InputError(what, where=str(folder), got=got, expected=expected, hint="choose one that is there")
    if lacking:
        log.warning("%s has no user %s", folder, shown_users(lacking))
    return [user for user in wanted if user in known]


def shown_users(users: Sequence[int]) -> str:
    """The first of them, for a message."""
    return ", ".join(map(str, users[:_SHOWN])) + (" ..." if len(users) > _SHOWN else "")


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
