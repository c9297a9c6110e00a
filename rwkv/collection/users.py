"""The users of a folder that a command works on."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from rwkv.collection.cached_import import source_of
from rwkv.data.revlogs import list_users
from rwkv.errors import InputError
from rwkv.runtime import log

# The most users that a message names.
_SHOWN = 10
_EXPECTED = "a collection, CSV, a folder written by `rwkv import`, or a dataset in the layout of anki-revlogs-10k"


def users_in(folder: Path, requested: Sequence[int] | None = None) -> list[int]:
    """The users of a folder. Logs the requested users that are missing.

    Args:
        folder: A folder written by `rwkv import`, or a dataset.
        requested: The user numbers; None for all.

    Raises:
        InputError: The folder does not exist, or has none of the users.
    """
    check_exists(folder)
    if not any(folder.glob("revlogs/user_id=*")):
        hint = "choose the collection's file, such as collection.colpkg"
        raise InputError("The folder has no reviews.", where=str(folder), expected=_EXPECTED, hint=hint)
    present = list_users(folder)
    if requested is None:
        return present
    present_set = set(present)
    missing = [user for user in requested if user not in present_set]
    if len(missing) == len(requested):
        what = "The user is not in the folder." if len(requested) == 1 else "None of the users is in the folder."
        got, expected = shown_users(missing), f"one of: {shown_users(present)}"
        raise InputError(what, where=source_of(folder), got=got, expected=expected, hint="choose one of these users")
    if missing:
        log.warning("%s has no user %s", source_of(folder), shown_users(missing))
    return [user for user in requested if user in present_set]


def check_exists(folder: Path) -> None:
    """Raise InputError if a folder of users does not exist."""
    if not folder.exists():
        raise InputError("The path does not exist.", where=str(folder), expected=_EXPECTED, hint="check the path")


def shown_users(users: Sequence[int]) -> str:
    """The first users, for a message."""
    return ", ".join(map(str, users[:_SHOWN])) + (" ..." if len(users) > _SHOWN else "")


def ranges_of(users: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending users as ranges: 1, 4, 5, 6 -> (1, 1), (4, 6)."""
    ranges: list[tuple[int, int]] = []
    for user in users:
        if ranges and ranges[-1][1] == user - 1:
            ranges[-1] = ranges[-1][0], user
        else:
            ranges.append((user, user))
    return ranges


def gaps_between(users: Sequence[int]) -> list[tuple[int, int]]:
    """The ranges of numbers that are lacking between the first and the last of ascending users."""
    return [(before + 1, after - 1) for before, after in pairwise(users) if after > before + 1]
