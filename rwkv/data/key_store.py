"""The database of benchmark keys, beside one another under several prefixes (spec 2)."""

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

# Of values without a checksum, as they were written once.
_UNSEALED_MAGIC = b"rwkvkey1"
_VERSION = 1
_NAMES = ("review_ths", "rmse_bins")
_COMMAND = "python -m rwkv.find_equalize_test_reviews"
_MAKE_AGAIN = f"give another prefix or path, and run `{_COMMAND}` again"


@dataclass(frozen=True)
class KeySettings:
    """Which keys a prefix holds."""

    short: bool
    secs: bool


class KeyStore:
    """Reads and writes the keys under one prefix. Values of the published form are read too.

    Raises StoreError if the keys were made by another version.
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
                got="keys without a note of their kind",
                hint=_MAKE_AGAIN,
            )

    @property
    def _where(self) -> str:
        return f"{self.database.path}, LABEL_FILTER_KEY_PREFIX {self.prefix!r}"

    def _settings(self, meta: bytes) -> KeySettings:
        with decoding(
            "These are no keys, or keys of another version.", self._where, f"version {_VERSION}", _MAKE_AGAIN
        ):
            fields = json.loads(meta)
            if "settings" not in fields or fields["version"] != _VERSION:
                raise ValueError(f"{fields.get('format', 'keys')}, version {fields['version']}")
            return KeySettings(**fields["settings"])

    def begin(self, settings: KeySettings) -> None:
        """Start writing, or go on. Raises StoreError if the prefix holds keys of other settings."""
        if self.settings is None:
            meta = {"version": _VERSION, "settings": vars(settings)}
            self.settings = self._settings(self.database.put_first(self._meta_key(), json.dumps(meta).encode()))
        if self.settings != settings:
            raise StoreError(
                f"Keys of another kind are stored under LABEL_FILTER_KEY_PREFIX {self.prefix!r}.",
                where=str(self.database.path),
                got=f"SHORT = {settings.short}, SECS = {settings.secs}",
                expected=f"SHORT = {self.settings.short}, SECS = {self.settings.secs}",
                hint="give these keys a prefix of their own",
            )

    def check_begun(self) -> None:
        """Raise StoreError if keys under this prefix were never looked for, of any user."""
        if self.settings is None and not self._is_published():
            raise StoreError("There are no keys under this prefix.", where=self._where, hint=f"run `{_COMMAND}` first")

    def has(self, user: int) -> bool:
        """Whether the user's keys were looked for. Raises StoreError where half of what is stored of him is lost."""
        halves = {self._key(user, name) in self.database for name in _NAMES}
        with self._decoding(user):
            if len(halves) > 1:
                raise ValueError("the reviews or their bins are lost")
        return halves.pop()

    def write(self, keys: dict[int, BenchmarkKeys]) -> None:
        """Store the keys of whole users, also of those who have none, in one transaction."""
        items = {
            self._key(user, name): getattr(of_user, name).astype("<i4").tobytes()
            for user, of_user in keys.items()
            for name in _NAMES
        }
        self.database.put({key: seal(key, content) for key, content in items.items()})

    def read(self, user: int) -> BenchmarkKeys:
        """The user's keys, possibly none.

        Raises StoreError for a user whose keys were never looked for, or are damaged. A database of the published form
        cannot tell users of the first kind from those without keys; it gives none.
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
        """Whether published keys lie under this very prefix."""
        value = self._some_value()
        return value is not None and value.startswith(TORCH_MAGIC)

    def _some_value(self) -> bytes | None:
        """What lies under this very prefix, of one user: the number follows it directly."""
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
        return f"{self.prefix}meta"


def delete_prefix(database: Database, prefix: str) -> int:
    """Take away the keys of all users under one prefix, also damaged ones, and the note of their kind.

    Returns how many entries there were.
    """
    names = f"meta|[0-9]+_({'|'.join(_NAMES)})"
    keys = [key for key in database if key.startswith(prefix) and re.fullmatch(names, key.removeprefix(prefix))]
    database.delete(keys)
    return len(keys)
