"""Check an LMDB database of benchmark keys or of reviews: every value of every user, with its checksum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rwkv.benchmark.databases import FIND_KEYS, PROCESS_DATA
from rwkv.data.database import Database
from rwkv.data.key_store import KeyStore, prefixes_in
from rwkv.data.store import ReviewStore
from rwkv.errors import InputError, RwkvError, StoreError
from rwkv.runtime import progress

_FILE = "data.mdb"


@dataclass(frozen=True)
class PartCheck:
    """A store, or the keys under one prefix.

    Attributes:
        name: What it is, in words.
        users: The number of reviews or of keys of each user without an error.
        errors: The other users, each with the first error.
    """

    name: str
    users: dict[int, int]
    errors: dict[int, RwkvError]


def is_database(folder: Path) -> bool:
    """Whether the folder has an LMDB database."""
    return (folder / _FILE).exists()


def check_database(folder: Path, users: Sequence[int] | None = None) -> list[PartCheck]:
    """Read what a database has of users.

    Args:
        folder: The folder of the database.
        users: The users; None for all.

    Raises:
        StoreError: The database is damaged as a whole, or has neither keys nor reviews.
        InputError: It has none of the users.
    """
    hint = f"run `{FIND_KEYS}` or `{PROCESS_DATA}` to fill it"
    with Database(folder, (folder / _FILE).stat().st_size, "its size", readonly=True, hint=hint) as database:
        if next(iter(database), None) is None:
            raise StoreError("The database is empty.", where=str(folder), hint=hint)
        if prefixes := prefixes_in(database):
            parts = [_check_keys(KeyStore(database, prefix), users) for prefix in prefixes]
        else:
            parts = [_check_store(ReviewStore(database), users)]
    if users is not None and not any(part.users or part.errors for part in parts):
        hint = "omit `users`, or choose others"
        raise InputError("None of the users is in the database.", where=str(folder), hint=hint)
    return parts


def _check_keys(store: KeyStore, users: Sequence[int] | None) -> PartCheck:
    kind = (
        "published format" if store.settings is None else ", ".join(f"{k} {v}" for k, v in vars(store.settings).items())
    )
    name = f"keys with the prefix {store.prefix!r} ({kind})"
    return _check_part(name, store.users(), users, lambda user: len(store.read(user)))


def _check_store(store: ReviewStore, users: Sequence[int] | None) -> PartCheck:
    return _check_part("store of reviews", store.users(), users, partial(_reviews, store))


def _reviews(store: ReviewStore, user: int) -> int:
    """The number of a user's reviews. Reads the history and the bounds of its segments."""
    store.has(user)
    reviews, bounds = len(store.read(user).table), store.bounds(user)
    if len(bounds) == 0 or bounds[-1, 1] != reviews:
        what = f"The segments of user {user} do not cover the history."
        raise StoreError(what, where=str(store.database.path), hint=f"run `{PROCESS_DATA}` at another path")
    return reviews


def _check_part(name: str, present: list[int], users: Sequence[int] | None, read: Callable[[int], int]) -> PartCheck:
    chosen = present if users is None else sorted(set(present) & set(users))
    sizes: dict[int, int] = {}
    errors: dict[int, RwkvError] = {}
    for user in progress(chosen, len(chosen), "users"):
        try:
            sizes[user] = read(user)
        except StoreError as error:
            errors[user] = error
    return PartCheck(name, sizes, errors)
