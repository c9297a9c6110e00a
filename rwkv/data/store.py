"""The review store: the compact history of every user, and how it is cut into segments (spec 3).

One value a user holds the history, so a user is there whole or not at all; a small one beside it the segments' bounds,
so that a plan of all users reads a few bytes each.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from rwkv.data.codec import StoredHistory, decode_history
from rwkv.data.database import Database
from rwkv.data.history import Ints
from rwkv.errors import StoreError

_FORMAT = "rwkv review store"
_VERSION = 1
_META = "meta"


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
            raise self._foreign("no version")
        self.settings: StoreSettings | None = None
        if meta is not None:
            fields = json.loads(meta)
            if (fields.pop("format", None), version := fields.pop("version", None)) != (_FORMAT, _VERSION):
                raise self._foreign(f"version {version}")
            self.settings = StoreSettings(**fields)

    def _foreign(self, got: str) -> StoreError:
        return StoreError(
            "The store was made by another version.",
            where=str(self.database.path),
            got=got,
            expected=f"{_FORMAT}, version {_VERSION}",
            hint="give another path, or delete the folder, and run `python -m rwkv.data_processing` again",
        )

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
                    where=str(self.database.path),
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
        """int64 [segments, 3]: first review (0-based), one past the last, rows. Raises StoreError if not there."""
        data = self.database.get(_bounds_key(user))
        if data is None:
            raise self._unknown(user)
        return np.frombuffer(data, "<i4").reshape(-1, 3).astype(np.int64)

    def read(self, user: int) -> StoredHistory:
        """The user's history. Raises StoreError for a user not there."""
        data = self.database.get(_history_key(user))
        if data is None:
            raise self._unknown(user)
        return decode_history(user, data)

    def _unknown(self, user: int) -> StoreError:
        return StoreError(
            f"User {user} is not in the store.",
            where=str(self.database.path),
            hint="run `python -m rwkv.data_processing` for a range that includes this user",
        )


def _history_key(user: int) -> str:
    return f"{user}_reviews"


def _bounds_key(user: int) -> str:
    return f"{user}_segments"
