"""The database of benchmark keys, beside one another under several prefixes (spec 2)."""

import json
from dataclasses import dataclass

import numpy as np

from rwkv.data.database import Database
from rwkv.data.decoding import decoding
from rwkv.data.history import Int32s
from rwkv.data.keys import NO_KEYS, BenchmarkKeys
from rwkv.data.torch_values import MAGIC as TORCH_MAGIC
from rwkv.data.torch_values import read_int32_tensor
from rwkv.errors import StoreError

_MAGIC = b"rwkvkey1"
_VERSION = 1
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
            self.database.put({self._meta_key(): json.dumps(meta).encode()})
            self.settings = settings
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
        return self.database.get(self._key(user, "rmse_bins")) is not None

    def write(self, keys: dict[int, BenchmarkKeys]) -> None:
        """Store the keys of whole users, also of those who have none, in one transaction."""
        items = {}
        for user, of_user in keys.items():
            items[self._key(user, "review_ths")] = _MAGIC + of_user.review_ths.astype("<i4").tobytes()
            items[self._key(user, "rmse_bins")] = _MAGIC + of_user.rmse_bins.astype("<i4").tobytes()
        self.database.put(items)

    def read(self, user: int) -> BenchmarkKeys:
        """The user's keys, possibly none.

        Raises StoreError for a user whose keys were never looked for. A database of the published form cannot tell such
        users from those without keys; it gives none.
        """
        review_ths = self.database.get(self._key(user, "review_ths"))
        bins = self.database.get(self._key(user, "rmse_bins"))
        if review_ths is None or bins is None:
            if self.settings is None and self._is_published():
                return NO_KEYS
            raise StoreError(
                f"The keys of user {user} are missing.",
                where=self._where,
                hint=f"run `{_COMMAND}` for a range that includes this user",
            )
        return BenchmarkKeys(self._decode(review_ths, user), self._decode(bins, user))

    def _is_published(self) -> bool:
        """Whether published keys lie under this very prefix: user numbers follow it directly."""
        names = (key.removeprefix(self.prefix) for key in self.database if key.startswith(self.prefix))
        return any(name.split("_", 1)[0].isdigit() for name in names)

    def _decode(self, value: bytes, user: int) -> Int32s:
        if value.startswith(TORCH_MAGIC):
            return read_int32_tensor(value, f"user {user}, {self._where}")
        with decoding(f"The keys of user {user} are damaged or of another version.", self._where, hint=_MAKE_AGAIN):
            if not value.startswith(_MAGIC):
                raise ValueError(f"a value that begins with {value[: len(_MAGIC)]!r}")
            return np.frombuffer(value, "<i4", offset=len(_MAGIC)).astype(np.int32)

    def _key(self, user: int, name: str) -> str:
        return f"{self.prefix}{user}_{name}"

    def _meta_key(self) -> str:
        return f"{self.prefix}meta"
