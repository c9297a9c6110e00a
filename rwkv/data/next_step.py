"""What to do about a user's files that cannot be used: it depends on where the dataset is from."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from rwkv.errors import HistoryError

More = ParamSpec("More")
Read = TypeVar("Read")
_OfUser = Callable[Concatenate[Path, int, More], Read]


def with_next_step(read: _OfUser[More, Read]) -> _OfUser[More, Read]:
    """Give the HistoryErrors of a function that reads a user's files the next step, unless they have one.

    read: a function of the dataset and the user, which may have further arguments.
    """

    @wraps(read)
    def reading(root: Path, user: int, *args: More.args, **kwargs: More.kwargs) -> Read:
        try:
            return read(root, user, *args, **kwargs)
        except HistoryError as error:
            if "next" in error.details:
                raise
            raise error.with_hint(_next_step(root, user)) from error

    return reading


def _next_step(root: Path, user: int) -> str:
    if (root / "collection" / f"user_id={user}").exists():
        return "import the collection again into a new folder"
    if (root / "simulated.json").exists():
        return f"delete {root / 'revlogs' / f'user_id={user}'}, and rerun the `rwkv simulate` that wrote it"
    if (root / ".cache" / "huggingface").exists():
        return f"run `rwkv download --users {user} --out {root}`, which replaces damaged files"
    return "restore the file from its source, or leave this user out"
