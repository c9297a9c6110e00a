"""The review store: the compact history of every user, and how it is cut into segments (spec 3).

One value a user holds the history, so a user is there whole or not at all; a small one beside it the segments' bounds,
so that a plan of all users reads a few bytes each.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

import numpy as np

from rwkv.data.codec import StoredHistory, decode_history
from rwkv.data.database import Database
from rwkv.data.decoding import decoding
from rwkv.data.history import Ints
from rwkv.errors import StoreError

_FORMAT = "rwkv review store"
_VERSION = 1
_META = "meta"

_OTHER_VERSION = "This is no store of reviews, or one of another version."
_EXPECTED = f"{_FORMAT}, version {_VERSION}"
_MAKE_AGAIN = "correct the path; an older store is made again by `python -m rwkv.data_processing` at another path"


@dataclass(frozen=True)
class StoreSettings:
    """What a store was made with. Two runs into one store must agree on it."""

    max_batch_size: int
    missing_notes: str
    label_filter_key_prefix: str


@dataclass(frozen=True)
class EncodedUser:
    """What a worker hands to the writer: the compressed history and bounds int64 [segments, 3] (first, stop, rows)."""

    user: int
    history: bytes
    bounds: Ints
    reviews: int
    notices: tuple[str, ...]


class ReviewStore:
    """Reads and writes histories in a Database. Raises StoreError if it was made by another version."""

    def __init__(self, database: Database) -> None:
        self.database = database
        meta = database.get(_META)
        if meta is None and next(iter(database), None) is not None:
            raise StoreError(_OTHER_VERSION, where=self._path, got="no version", expected=_EXPECTED, hint=_MAKE_AGAIN)
        self.settings = None if meta is None else self._settings(meta)

    @property
    def _path(self) -> str:
        return str(self.database.path)

    def _settings(self, meta: bytes) -> StoreSettings:
        with decoding(_OTHER_VERSION, self._path, _EXPECTED, _MAKE_AGAIN):
            fields = json.loads(meta)
            made = fields.pop("format", "no store"), fields.pop("version", None)
            if made != (_FORMAT, _VERSION):
                raise ValueError(f"{made[0]}, version {made[1]}")
            return StoreSettings(**fields)

    def begin(self, settings: StoreSettings) -> None:
        """Start writing, or go on. Raises StoreError naming the key in which this run differs from the store."""
        if self.settings is None:
            meta = {"format": _FORMAT, "version": _VERSION, **asdict(settings)}
            self.database.put({_META: json.dumps(meta).encode()})
            self.settings = settings
        for name, there in asdict(self.settings).items():
            if there != (here := getattr(settings, name)):
                raise StoreError(
                    f"The store was made with another {name.upper()}.",
                    where=self._path,
                    got=repr(here),
                    expected=repr(there),
                    hint="give another LMDB_PATH, or delete the folder to make the store again",
                )

    def has(self, user: int) -> bool:
        return self.database.get(_bounds_key(user)) is not None

    def write(self, users: list[EncodedUser]) -> None:
        """Store whole users in one transaction."""
        items = {}
        for user in users:
            items[_history_key(user.user)] = user.history
            items[_bounds_key(user.user)] = user.bounds.astype("<i4").tobytes()
        self.database.put(items)

    def bounds(self, user: int) -> Ints:
        """int64 [segments, 3]: first review (0-based), one past the last, rows.

        Raises StoreError if the user is not there or the value damaged.
        """
        data = self._value(user, _bounds_key(user))
        with self._decoding(user):
            return np.frombuffer(data, "<i4").reshape(-1, 3).astype(np.int64)

    def read(self, user: int) -> StoredHistory:
        """The user's history. Raises StoreError if the user is not there or the value damaged."""
        data = self._value(user, _history_key(user))
        with self._decoding(user):
            return decode_history(user, data)

    def _decoding(self, user: int) -> AbstractContextManager[None]:
        return decoding(f"What is stored of user {user} is damaged.", self._path, hint=_MAKE_AGAIN)

    def _value(self, user: int, key: str) -> bytes:
        value = self.database.get(key)
        if value is None:
            raise StoreError(
                f"User {user} is not in the store.",
                where=self._path,
                hint="run `python -m rwkv.data_processing` for a range that includes this user",
            )
        return value


def _history_key(user: int) -> str:
    return f"{user}_reviews"


def _bounds_key(user: int) -> str:
    return f"{user}_segments"
