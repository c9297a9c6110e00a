"""The review store: users' compressed histories and the bounds of their segments (spec 3).

A history is one value, so a user is stored completely or not at all. The bounds are another, small value, so that
planning batches reads only a few bytes per user.
"""

import json
import re
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
# A version without checksums, which is still read but not written.
_UNSEALED_VERSION = 1
_META = "meta"
_ENTRY = re.compile(r"(\d+)_(?:reviews|segments)", re.ASCII)
_CHECKSUM = "checksum"

_OTHER_VERSION = "The database is not a review store, or has another version."
_EXPECTED = f"{_FORMAT}, version {_VERSION}"
_MAKE_AGAIN = "correct the path, or create a new store with `python -m rwkv.data_processing` at another path"
_PUT_BACK = "restore a backup of the store, or create a new one with `python -m rwkv.data_processing` at another path"


@dataclass(frozen=True)
class StoreSettings:
    """The settings of a store. All runs that write to it must have the same."""

    max_batch_size: int
    missing_notes: str
    label_filter_key_prefix: str


@dataclass(frozen=True)
class EncodedUser:
    """A user's compressed history, and the bounds of its segments, int64 [segments, 3] (first, stop, rows)."""

    user: int
    history: bytes
    bounds: Ints
    reviews: int
    notices: tuple[str, ...]


class ReviewStore:
    """Reads and writes histories in a Database. Raises StoreError if another version wrote it."""

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
                raise ValueError("wrong checksum")
        return settings

    def begin(self, settings: StoreSettings) -> None:
        """Start or continue writing. Raises StoreError, which names the key, if the settings differ."""
        if self.settings is None:
            meta = {"format": _FORMAT, "version": _VERSION, **asdict(settings), _CHECKSUM: _checksum(settings)}
            self.settings = self._settings(self.database.put_first(_META, json.dumps(meta).encode()))
        for name, stated in asdict(self.settings).items():
            if stated != (setting := getattr(settings, name)):
                raise StoreError(
                    f"The store has another {name.upper()}.",
                    where=self._path,
                    got=repr(setting),
                    expected=repr(stated),
                    hint="choose another LMDB_PATH, or delete the folder to start over",
                )

    def users(self) -> list[int]:
        """The users of the store, ascending, also those with half of an entry."""
        matches = (_ENTRY.fullmatch(key) for key in self.database)
        return sorted({int(match[1]) for match in matches if match})

    def has(self, user: int) -> bool:
        """Whether the user is stored. Raises StoreError if only half of the entry exists."""
        halves = {key in self.database for key in (_history_key(user), _bounds_key(user))}
        with self._decoding(user):
            if len(halves) > 1:
                raise ValueError("the history or the bounds of its segments are missing")
        return halves.pop()

    def check_open_for_more(self) -> None:
        """Raise StoreError if the store has an old version, to which users cannot be added."""
        if self._version != _VERSION:
            raise StoreError(
                "Users cannot be added to a store of an older version.",
                where=self._path,
                got=f"version {self._version}",
                expected=f"version {_VERSION}",
                hint="choose another LMDB_PATH, or delete the folder to start over",
            )

    def write(self, users: list[EncodedUser]) -> None:
        """Store users in one transaction. Raises StoreError if the store has an old version."""
        self.check_open_for_more()
        items = {}
        for user in users:
            items[_history_key(user.user)] = user.history
            items[_bounds_key(user.user)] = user.bounds.astype("<i4").tobytes()
        self.database.put({key: seal(key, content) for key, content in items.items()})

    def bounds(self, user: int) -> Ints:
        """Read the bounds of a user's segments.

        Returns:
            int64 [segments, 3]: the first review (0-based), one past the last, and the number of rows.

        Raises:
            StoreError: The user is not stored, or the value is damaged.
        """
        data = self._value(user, _bounds_key(user))
        with self._decoding(user):
            bounds = np.frombuffer(data, "<i4").reshape(-1, 3).astype(np.int64)
            start, stop, rows = bounds.T
            reviews = stop - start
            is_cut = (start == np.append(0, stop[:-1])) & (reviews > 0) & (reviews <= rows) & (rows <= 2 * reviews)
            if not is_cut.all():
                raise ValueError("invalid bounds of segments")
            return bounds

    def read(self, user: int) -> StoredHistory:
        """Read a user's history. Raises StoreError if the user is not stored, or the value is damaged."""
        data = self._value(user, _history_key(user))
        with self._decoding(user):
            stored = decode_history(user, data)
        if self.settings is None:
            return stored
        return replace(stored, table=replace(stored.table, missing_notes=self.settings.missing_notes))

    def fingerprint(self, user: int) -> bytes:
        """An 8-byte fingerprint of a user's history, cheap to read from a store with checksums."""
        key = _history_key(user)
        if self._version == _UNSEALED_VERSION:
            return checksum(key, self._value(user, key))
        return stated_checksum(self.database.head(key, HEAD_SIZE) or b"")

    def _decoding(self, user: int) -> AbstractContextManager[None]:
        return decoding(f"The entry of user {user} is damaged.", self._path, hint=_PUT_BACK)

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
