"""The review store: the compact history of every user, and how it is cut into segments (spec 3).

One value a user holds the history, so a user is there whole or not at all; a small one beside it the segments' bounds,
so that a plan of all users reads a few bytes each.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.codec import StoredHistory, decode_history
from rwkv.data.database import Database
from rwkv.data.stored_bytes import HEAD_SIZE, checksum, decoding, seal, stated_checksum, unseal
from rwkv.errors import StoreError

_FORMAT = "rwkv review store"
_VERSION = 2
# Without checksums: still read, no longer written.
_UNSEALED_VERSION = 1
_META = "meta"
_CHECKSUM = "checksum"

_OTHER_VERSION = "This is no store of reviews, or one of another version."
_EXPECTED = f"{_FORMAT}, version {_VERSION}"
_MAKE_AGAIN = "correct the path; an older store is made again by `python -m rwkv.data_processing` at another path"
_PUT_BACK = "put back a copy of the store, or make it again by `python -m rwkv.data_processing` at another path"


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
        self._version = _VERSION
        self.settings = None if meta is None else self._settings(meta)

    @property
    def _path(self) -> str:
        return str(self.database.path)

    def _settings(self, meta: bytes) -> StoreSettings:
        with decoding(_OTHER_VERSION, self._path, _EXPECTED, _MAKE_AGAIN):
            fields = json.loads(meta)
            made = fields.pop("format", "no store"), fields.pop("version", None)
            if made[0] != _FORMAT or made[1] not in (_VERSION, _UNSEALED_VERSION):
                raise ValueError(f"{made[0]}, version {made[1]}")
            self._version = made[1]
            stated = fields.pop(_CHECKSUM, None)
            settings = StoreSettings(**fields)
        with decoding("The settings of the store are damaged.", self._path, hint=_PUT_BACK):
            if self._version == _VERSION and stated != _checksum(settings):
                raise ValueError("their checksum is wrong")
        return settings

    def begin(self, settings: StoreSettings) -> None:
        """Start writing, or go on. Raises StoreError naming the key in which this run differs from the store."""
        if self.settings is None:
            meta = {"format": _FORMAT, "version": _VERSION, **asdict(settings), _CHECKSUM: _checksum(settings)}
            self.settings = self._settings(self.database.put_first(_META, json.dumps(meta).encode()))
        for name, stated in asdict(self.settings).items():
            if stated != (here := getattr(settings, name)):
                raise StoreError(
                    f"The store was made with another {name.upper()}.",
                    where=self._path,
                    got=repr(here),
                    expected=repr(stated),
                    hint="give another LMDB_PATH, or delete the folder to make the store again",
                )

    def has(self, user: int) -> bool:
        """Whether the user is there. Raises StoreError where one half of what is stored of the user is lost."""
        halves = {key in self.database for key in (_history_key(user), _bounds_key(user))}
        with self._decoding(user):
            if len(halves) > 1:
                raise ValueError("the history or the bounds of its segments are lost")
        return halves.pop()

    def check_open_for_more(self) -> None:
        """Raise StoreError where users cannot be added, because the store is of a version without checksums."""
        if self._version != _VERSION:
            raise StoreError(
                "The store is of an older version, which is read but no longer added to.",
                where=self._path,
                got=f"version {self._version}",
                expected=f"version {_VERSION}",
                hint="give another LMDB_PATH, or delete the folder to make the store again",
            )

    def write(self, users: list[EncodedUser]) -> None:
        """Store whole users in one transaction. Raises StoreError as `check_open_for_more` does."""
        self.check_open_for_more()
        items = {}
        for user in users:
            items[_history_key(user.user)] = user.history
            items[_bounds_key(user.user)] = user.bounds.astype("<i4").tobytes()
        self.database.put({key: seal(key, content) for key, content in items.items()})

    def bounds(self, user: int) -> Ints:
        """int64 [segments, 3]: first review (0-based), one past the last, rows.

        Raises StoreError if the user is not there or the value damaged.
        """
        data = self._value(user, _bounds_key(user))
        with self._decoding(user):
            bounds = np.frombuffer(data, "<i4").reshape(-1, 3).astype(np.int64)
            start, stop, rows = bounds.T
            reviews = stop - start
            is_cut = (start == np.append(0, stop[:-1])) & (reviews > 0) & (reviews <= rows) & (rows <= 2 * reviews)
            if not is_cut.all():
                raise ValueError("bounds that do not cut a history")
            return bounds

    def read(self, user: int) -> StoredHistory:
        """The user's history. Raises StoreError if the user is not there or the value damaged."""
        data = self._value(user, _history_key(user))
        with self._decoding(user):
            stored = decode_history(user, data)
        if self.settings is None:
            return stored
        return replace(stored, table=replace(stored.table, missing_notes=self.settings.missing_notes))

    def fingerprint(self, user: int) -> bytes:
        """8 bytes that depend on all of the user's history; little is read for them where the store has checksums."""
        key = _history_key(user)
        if self._version == _UNSEALED_VERSION:
            return checksum(key, self._value(user, key))
        return stated_checksum(self.database.head(key, HEAD_SIZE) or b"")

    def _decoding(self, user: int) -> AbstractContextManager[None]:
        return decoding(f"What is stored of user {user} is damaged.", self._path, hint=_PUT_BACK)

    def _value(self, user: int, key: str) -> bytes:
        value = self.database.get(key)
        if value is None:
            raise StoreError(
                f"User {user} is not in the store.",
                where=self._path,
                hint="run `python -m rwkv.data_processing` for a range that includes this user",
            )
        if self._version == _UNSEALED_VERSION:
            return value
        with self._decoding(user):
            return unseal(key, value)


def _history_key(user: int) -> str:
    return f"{user}_reviews"


def _bounds_key(user: int) -> str:
    return f"{user}_segments"


def _checksum(settings: StoreSettings) -> str:
    return checksum(_META, json.dumps(asdict(settings)).encode()).hex()
