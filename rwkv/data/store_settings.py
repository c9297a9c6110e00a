"""The settings and the version of a review store, which lie in it under a key of their own."""

import json
from dataclasses import asdict, dataclass

from rwkv.data.stored_bytes import checksum, decoding
from rwkv.errors import StoreError

META = "meta"
_FORMAT = "rwkv review store"
VERSION = 3
# Versions that are still read but not written: whole histories, and the same without checksums.
_WHOLE_VERSION, UNSEALED_VERSION = 2, 1
_CHECKSUM = "checksum"

_OTHER_VERSION = "The database is not a review store, or has another version."
_EXPECTED = f"{_FORMAT}, version {VERSION}"
_MAKE_AGAIN = "correct the path, or create a new store with `python -m rwkv.data_processing` at another path"
PUT_BACK = "restore a backup of the store, or create a new one with `python -m rwkv.data_processing` at another path"


@dataclass(frozen=True)
class StoreSettings:
    """The settings of a store. All runs that write to it must have the same."""

    max_batch_size: int
    missing_notes: str
    label_filter_key_prefix: str


def settings_value(settings: StoreSettings) -> bytes:
    """The settings as a store of the present version holds them."""
    return json.dumps(
        {"format": _FORMAT, "version": VERSION, **asdict(settings), _CHECKSUM: _checksum(settings)}
    ).encode()


def read_settings(meta: bytes, path: str) -> tuple[StoreSettings, int]:
    """The settings and the version in a store.

    Raises:
        StoreError: The database is no store, has an unknown version, or the settings are damaged.
    """
    with decoding(_OTHER_VERSION, path, _EXPECTED, _MAKE_AGAIN):
        fields = json.loads(meta)
        made = fields.pop("format", "no store"), fields.pop("version", None)
        if made[0] != _FORMAT or made[1] not in (VERSION, _WHOLE_VERSION, UNSEALED_VERSION):
            raise ValueError(f"{made[0]}, version {made[1]}")
        stated = fields.pop(_CHECKSUM, None)
        settings = StoreSettings(**fields)
    with decoding("The settings of the store are damaged.", path, hint=PUT_BACK):
        if made[1] != UNSEALED_VERSION and stated != _checksum(settings):
            raise ValueError("wrong checksum")
    return settings, made[1]


def no_settings(path: str) -> StoreError:
    """The error for a database that has entries but no settings."""
    return StoreError(_OTHER_VERSION, where=path, got="no version", expected=_EXPECTED, hint=_MAKE_AGAIN)


def _checksum(settings: StoreSettings) -> str:
    return checksum(META, json.dumps(asdict(settings)).encode()).hex()
