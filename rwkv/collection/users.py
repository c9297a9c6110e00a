"""Which users of a folder a command works on."""

from collections.abc import Sequence
from pathlib import Path

from rwkv.data.revlogs import list_users
from rwkv.errors import InputError
from rwkv.runtime import log

# Users that a message names.
_SHOWN = 10


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
