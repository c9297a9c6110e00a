"""Stored bytes: their checksums, int32 tensors of torch, and damage, which becomes one StoreError.

A checksum is of key and content, so that no damaged or misplaced value is taken for another.
"""

import hashlib
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zstandard

from rwkv.arrays import Int32s
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

_SEAL = b"rwkvsum1"
_SIZE = 8
HEAD_SIZE = len(_SEAL) + _SIZE
TORCH_MAGIC = b"PK\x03\x04"


@contextmanager
def decoding(what: str, where: str, expected: str = "", hint: str = "") -> Iterator[None]:
    """Inside, errors of decoding are raised as a StoreError that says `what`, with the cause as what was got."""
    try:
        yield
    except _DAMAGE as error:
        got = f"{type(error).__name__}: {error}"
        raise StoreError(what, where=where, got=got, expected=expected, hint=hint) from error


def checksum(key: str, content: bytes) -> bytes:
    """The 8 bytes that a value under a key is held against."""
    return hashlib.blake2b(content, digest_size=_SIZE, key=hashlib.blake2b(key.encode()).digest()).digest()


def stated_checksum(head: bytes) -> bytes:
    """What the first HEAD_SIZE bytes of a sealed value say of the rest."""
    return head[len(_SEAL) : HEAD_SIZE]


def seal(key: str, content: bytes) -> bytes:
    """The value that is stored under a key."""
    return _SEAL + checksum(key, content) + content


def is_sealed(value: bytes) -> bool:
    """Whether a value has a checksum at all."""
    return value.startswith(_SEAL)


def unseal(key: str, value: bytes) -> bytes:
    """The content of what lies under a key. Raises ValueError where it is not what was stored there."""
    content = value[len(_SEAL) + _SIZE :]
    if not is_sealed(value) or value[len(_SEAL) : len(_SEAL) + _SIZE] != checksum(key, content):
        raise ValueError("its checksum is wrong")
    return content


class _TensorUnpickler(pickle.Unpickler):
    """Knows the three names in the pickle of a plain tensor; each gives back its arguments, nothing is called."""

    _KNOWN = ("_rebuild_tensor_v2", "IntStorage", "OrderedDict")

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._KNOWN:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return name if name == "IntStorage" else lambda *arguments: arguments

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_int32_tensor(value: bytes, where: str = "") -> Int32s:
    """The entries of a contiguous 1-dimensional int32 tensor. Raises StoreError, naming `where`, for anything else."""
    with decoding("A stored value is not an int32 tensor.", where), zipfile.ZipFile(io.BytesIO(value)) as archive:
        folder = archive.namelist()[0].split("/")[0]
        tensor = _TensorUnpickler(io.BytesIO(archive.read(f"{folder}/data.pkl"))).load()
        (_, kind, key, _, _), offset, size, stride = tensor[:4]
        if kind != "IntStorage" or len(size) != 1 or tuple(stride) != (1,):
            raise pickle.UnpicklingError(f"a {kind} of size {size}")
        data = archive.read(f"{folder}/data/{key}")
        return np.frombuffer(data, "<i4", size[0], 4 * offset).astype(np.int32)
