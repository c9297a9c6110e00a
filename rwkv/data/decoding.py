"""The door for stored bytes that are not what they should be: whatever their decoder meets becomes one StoreError."""

import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import zstandard

from rwkv.errors import StoreError

# What JSON, zip, pickle, Zstandard and NumPy raise for damaged or foreign bytes.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)


@contextmanager
def decoding(what: str, where: str, expected: str = "", hint: str = "") -> Iterator[None]:
    """Inside, errors of decoding are raised as a StoreError that says `what`, with the cause as what was got."""
    try:
        yield
    except _DAMAGE as error:
        got = f"{type(error).__name__}: {error}"
        raise StoreError(what, where=where, got=got, expected=expected, hint=hint) from error
