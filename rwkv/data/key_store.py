"""The database of benchmark keys, which holds several sets under different prefixes (spec 2)."""

import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Int32s
from rwkv.data.database import Database
from rwkv.data.keys import NO_KEYS, BenchmarkKeys
from rwkv.data.stored_bytes import TORCH_MAGIC, decoding, is_sealed, read_int32_tensor, seal, unseal
from rwkv.errors import StoreError

# The first bytes of values without a checksum, from an earlier version.
_UNSEALED_MAGIC = b"rwkvkey1"
_VERSION = 1
_NAMES = ("review_ths", "rmse_bins")
# The key of an entry: prefix, user and name.
_ENTRY = re.compile(rf"(.*?)(\d+)_(?:{'|'.join(_NAMES)})", re.ASCII | re.DOTALL)
_META = "meta"
_COMMAND = "python -m rwkv.find_equalize_test_reviews"
_MAKE_AGAIN = f"choose another prefix or path, and rerun `{_COMMAND}`"


@dataclass(frozen=True)
class KeySettings:
    """The settings of the keys under a prefix."""

    short: bool
    secs: bool


class KeyStore:
    """Reads and writes the keys under one prefix. It also reads values in the published format.

    Raises:
        StoreError: Another version wrote the keys.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self.database = database
        self.prefix = prefix
        meta = database.get(self._meta_key())
        self.settings = None if meta is None else self._settings(meta)
        if meta is None and self._some_value() is not None and not self._is_published():
            raise StoreError(
                "The keys under this prefix are damaged or of another version.",
                where=self._where,
                got="keys without settings",
                hint=_MAKE_AGAIN,
            )

    @property
    def _where(self) -> str:
        return f"{self.database.path}, LABEL_FILTER_KEY_PREFIX {self.prefix!r}"

    def _settings(self, meta: bytes) -> KeySettings:
        with decoding(
            "The database has no keys, or keys of another version.", self._where, f"version {_VERSION}", _MAKE_AGAIN
        ):
            fields = json.loads(meta)
            if "settings" not in fields or fields["version"] != _VERSION:
                raise ValueError(f"{fields.get('format', 'keys')}, version {fields['version']}")
            return KeySettings(**fields["settings"])

    def begin(self, settings: KeySettings) -> None:
        """Start or continue writing. Raises StoreError if the prefix has keys with other settings."""
        if self.settings is None:
            meta = {"version": _VERSION, "settings": vars(settings)}
            self.settings = self._settings(self.database.put_first(self._meta_key(), json.dumps(meta).encode()))
        if self.settings != settings:
            raise StoreError(
                f"LABEL_FILTER_KEY_PREFIX {self.prefix!r} has keys with other settings.",
                where=str(self.database.path),
                got=f"SHORT = {settings.short}, SECS = {settings.secs}",
                expected=f"SHORT = {self.settings.short}, SECS = {self.settings.secs}",
                hint="choose another prefix for these keys",
            )

    def check_begun(self) -> None:
        """Raise StoreError if no user's keys were searched for under this prefix."""
        if self.settings is None and not self._is_published():
            raise StoreError("The prefix has no keys.", where=self._where, hint=f"run `{_COMMAND}` first")

    def has(self, user: int) -> bool:
        """Whether the user's keys were searched for. Raises StoreError if only half of the entry exists."""
        halves = {self._key(user, name) in self.database for name in _NAMES}
        with self._decoding(user):
            if len(halves) > 1:
                raise ValueError("the reviews or their bins are missing")
        return halves.pop()

    def users(self) -> list[int]:
        """The users whose keys were searched for, ascending, also those with half of an entry."""
        rests = (key.removeprefix(self.prefix) for key in self.database if key.startswith(self.prefix))
        matches = (_ENTRY.fullmatch(rest) for rest in rests)
        return sorted({int(match[2]) for match in matches if match and not match[1]})

    def write(self, keys: dict[int, BenchmarkKeys]) -> None:
        """Store the keys of users in one transaction, also of users without keys."""
        items = {
            self._key(user, name): getattr(of_user, name).astype("<i4").tobytes()
            for user, of_user in keys.items()
            for name in _NAMES
        }
        self.database.put({key: seal(key, content) for key, content in items.items()})

    def read(self, user: int) -> BenchmarkKeys:
        """Read a user's keys, which may be empty.

        The published format does not distinguish users without keys from users that were not searched for; both have
        no keys.

        Raises:
            StoreError: The user's keys are damaged, or were not searched for.
        """
        if not self.has(user):
            if self.settings is None and self._is_published():
                return NO_KEYS
            raise StoreError(
                f"The keys of user {user} are missing.",
                where=self._where,
                hint=f"run `{_COMMAND}` for a range that includes this user",
            )
        review_ths, rmse_bins = (self._values(user, name) for name in _NAMES)
        with self._decoding(user):
            if len(review_ths) != len(rmse_bins):
                raise ValueError(f"{len(review_ths)} reviews and {len(rmse_bins)} bins")
        return BenchmarkKeys(review_ths, rmse_bins)

    def _is_published(self) -> bool:
        """Whether this prefix has keys in the published format."""
        value = self._some_value()
        return value is not None and value.startswith(TORCH_MAGIC)

    def _some_value(self) -> bytes | None:
        """A value of one user under exactly this prefix, where the user's number follows directly."""
        for key in self.database:
            if key.startswith(self.prefix) and key.removeprefix(self.prefix).split("_", 1)[0].isdigit():
                return self.database.get(key)
        return None

    def _values(self, user: int, name: str) -> Int32s:
        value = self.database.get(key := self._key(user, name)) or b""
        if value.startswith(TORCH_MAGIC):
            return read_int32_tensor(value, f"user {user}, {self._where}")
        with self._decoding(user):
            if is_sealed(value):
                content = unseal(key, value)
            elif value.startswith(_UNSEALED_MAGIC):
                content = value[len(_UNSEALED_MAGIC) :]
            else:
                raise ValueError(f"a value that begins with {value[: len(_UNSEALED_MAGIC)]!r}")
            return np.frombuffer(content, "<i4").astype(np.int32)

    def _decoding(self, user: int) -> AbstractContextManager[None]:
        return decoding(f"The keys of user {user} are damaged or of another version.", self._where, hint=_MAKE_AGAIN)

    def _key(self, user: int, name: str) -> str:
        return f"{self.prefix}{user}_{name}"

    def _meta_key(self) -> str:
        return f"{self.prefix}{_META}"


def prefixes_in(database: Database) -> list[str]:
    """The prefixes of all keys in a database; none if it has no keys.

    Those that have settings are stated. Of keys in the published format, what precedes the user's number is the prefix.
    """
    entries = [match for key in database if (match := _ENTRY.fullmatch(key))]
    stated = [key.removesuffix(_META) for key in database if entries and key.endswith(_META)]
    prefixes = set(stated)
    for entry in entries:
        rests = (entry[0].removeprefix(prefix) for prefix in stated if entry[0].startswith(prefix))
        matches = (_ENTRY.fullmatch(rest) for rest in rests)
        if not any(match and not match[1] for match in matches):
            prefixes.add(entry[1])
    return sorted(prefixes)


def delete_prefix(database: Database, prefix: str) -> int:
    """Delete all keys under a prefix, also damaged ones, and their settings. Returns the number of entries."""
    names = f"{_META}|[0-9]+_({'|'.join(_NAMES)})"
    keys = [key for key in database if key.startswith(prefix) and re.fullmatch(names, key.removeprefix(prefix))]
    database.delete(keys)
    return len(keys)
