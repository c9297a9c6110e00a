"""The review store: users' compressed histories and the bounds of their segments (spec 3).

A history is stored in parts, which have what their segments need of the other parts, so that reading a segment takes
the same time in histories of all lengths. The bounds are another, small value, so that planning batches reads only a
few bytes per user. A user is written in one transaction, so completely or not at all.
"""

import re
from contextlib import AbstractContextManager
from dataclasses import asdict, replace

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.codec import (
    StoredHistory,
    decode_cards,
    decode_part,
    decode_whole_history,
)
from rwkv.data.database import Database
from rwkv.data.encoded_user import EncodedUser
from rwkv.data.excerpts import Excerpt, cut_excerpts, joined_excerpts, whole_excerpt
from rwkv.data.history import CardTable, RevlogTable
from rwkv.data.store_settings import (
    META,
    PUT_BACK,
    UNSEALED_VERSION,
    VERSION,
    StoreSettings,
    no_settings,
    read_settings,
    settings_value,
)
from rwkv.data.stored_bytes import HEAD_SIZE, checksum, decoding, seal, stated_checksum, unseal
from rwkv.errors import StoreError

_ENTRY = re.compile(r"(\d+)_(?:cards|reviews(?:_\d+)?|segments)", re.ASCII)


class ReviewStore:
    """Reads and writes histories in a Database. Raises StoreError if another version wrote it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        meta = database.get(META)
        if meta is None and next(iter(database), None) is not None:
            raise no_settings(self._path)
        self._version = VERSION
        self.settings: StoreSettings | None = None
        if meta is not None:
            self.settings, self._version = read_settings(meta, self._path)

    @property
    def _path(self) -> str:
        return str(self.database.path)

    def begin(self, settings: StoreSettings) -> None:
        """Start or continue writing. Raises StoreError, which names the key, if the settings differ."""
        if self.settings is None:
            meta = self.database.put_first(META, settings_value(settings))
            self.settings, self._version = read_settings(meta, self._path)
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
        halves = {key in self.database for key in (self._first_key(user), _bounds_key(user))}
        with self._decoding(user):
            if len(halves) > 1:
                raise ValueError("the history or the bounds of its segments are missing")
        return halves.pop()

    def check_open_for_more(self) -> None:
        """Raise StoreError if the store has an old version, to which users cannot be added."""
        if self._version != VERSION:
            raise StoreError(
                "Users cannot be added to a store of an older version.",
                where=self._path,
                got=f"version {self._version}",
                expected=f"version {VERSION}",
                hint="choose another LMDB_PATH, or delete the folder to start over",
            )

    def write(self, users: list[EncodedUser]) -> None:
        """Store users in one transaction. Raises StoreError if the store has an old version."""
        self.check_open_for_more()
        items = {}
        for user in users:
            items[_cards_key(user.user)] = user.cards
            items |= {_part_key(user.user, number): part for number, part in enumerate(user.parts)}
            items[_bounds_key(user.user)] = user.bounds.astype("<i4").tobytes()
        self.database.put({key: seal(key, content) for key, content in items.items()})

    def bounds(self, user: int) -> Ints:
        """Read the bounds of a user's segments.

        Returns:
            int64 [segments, 3]: the first review (0-based), one past the last, and the number of rows.

        Raises:
            StoreError: The user is not stored, or the value is damaged.
        """
        return self._numbered_bounds(user)[:, :3]

    def read(self, user: int) -> StoredHistory:
        """Read a user's history. Raises StoreError if the user is not stored, or a value is damaged."""
        whole = self._whole(user)
        return StoredHistory(whole.table, whole.is_key)

    def excerpt(self, user: int, start: int, stop: int) -> Excerpt:
        """Read some reviews of a user, quickly if they are of one segment.

        Args:
            user: The user.
            start, stop: The first review (0-based), and one past the last.

        Raises:
            StoreError: The user is not stored, or a value is damaged.
        """
        bounds = self._numbered_bounds(user)
        numbers = bounds[(bounds[:, 1] > start) & (bounds[:, 0] < stop), 3]
        if self._version != VERSION or numbers[0] != numbers[-1]:
            source, first = self._whole(user), 0
        else:
            source = self._part(user, int(numbers[0]), self._cards(user))
            first = int(bounds[np.searchsorted(bounds[:, 3], numbers[0]), 0])
        if (start - first, stop - start) == (0, source.own.stop - source.own.start):
            return source
        with self._decoding(user):  # values that each have a right checksum may not fit together
            return next(cut_excerpts(source, [(start - first, stop - first)]))

    def fingerprint(self, user: int) -> bytes:
        """A fingerprint of a user's history, cheap to read from a store with checksums."""
        if self._version == UNSEALED_VERSION:
            return checksum(_history_key(user), self._value(user, _history_key(user)))
        keys = [_history_key(user)]
        if self._version == VERSION:
            keys = [_cards_key(user), *(_part_key(user, number) for number in range(self._parts(user)))]
        return b"".join(stated_checksum(self.database.head(key, HEAD_SIZE) or b"") for key in keys)

    def _parts(self, user: int) -> int:
        return int(self._numbered_bounds(user)[-1, 3]) + 1

    def _whole(self, user: int) -> Excerpt:
        if self._version == VERSION:
            cards = self._cards(user)
            return joined_excerpts([self._part(user, number, cards) for number in range(self._parts(user))])
        data = self._value(user, _history_key(user))
        with self._decoding(user):
            stored = decode_whole_history(user, data)
            return whole_excerpt(self._with_settings(stored.table), stored.is_key)

    def _part(self, user: int, number: int, cards: CardTable) -> Excerpt:
        data = self._value(user, _part_key(user, number))
        with self._decoding(user):
            part = decode_part(user, data, cards)
            return replace(part, table=self._with_settings(part.table))

    def _with_settings(self, table: RevlogTable) -> RevlogTable:
        return table if self.settings is None else replace(table, missing_notes=self.settings.missing_notes)

    def _cards(self, user: int) -> CardTable:
        data = self._value(user, _cards_key(user))
        with self._decoding(user):
            return decode_cards(data)

    def _numbered_bounds(self, user: int) -> Ints:
        """The bounds of a user's segments with the number of each one's part, int64 [segments, 4]."""
        data = self._value(user, _bounds_key(user))
        with self._decoding(user):
            bounds = np.frombuffer(data, "<i4").reshape(-1, 4 if self._version == VERSION else 3).astype(np.int64)
            if self._version != VERSION:
                bounds = np.column_stack([bounds, np.zeros(len(bounds), np.int64)])
            start, stop, rows, part = bounds.T
            reviews = stop - start
            is_cut = (start == np.append(0, stop[:-1])) & (reviews > 0) & (reviews <= rows) & (rows <= 2 * reviews)
            steps = np.diff(part, prepend=-1)
            if not (is_cut & (steps >= 0) & (steps <= 1)).all() or steps[0] != 1:
                raise ValueError("invalid bounds of segments")
            return bounds

    def _first_key(self, user: int) -> str:
        return _cards_key(user) if self._version == VERSION else _history_key(user)

    def _decoding(self, user: int) -> AbstractContextManager[None]:
        return decoding(f"The entry of user {user} is damaged.", self._path, hint=PUT_BACK)

    def _value(self, user: int, key: str) -> bytes:
        value = self.database.get(key)
        if value is None and self.has(user):
            raise StoreError(f"The entry of user {user} is damaged.", where=self._path, got=f"no {key}", hint=PUT_BACK)
        if value is None:
            raise StoreError(
                f"User {user} is not in the store.",
                where=self._path,
                hint="run `python -m rwkv.data_processing` for a range that includes this user",
            )
        if self._version == UNSEALED_VERSION:
            return value
        with self._decoding(user):
            return unseal(key, value)


def _history_key(user: int) -> str:
    """The key of a whole history, in earlier versions."""
    return f"{user}_reviews"


def _part_key(user: int, number: int) -> str:
    return f"{user}_reviews_{number}"


def _cards_key(user: int) -> str:
    return f"{user}_cards"


def _bounds_key(user: int) -> str:
    return f"{user}_segments"
