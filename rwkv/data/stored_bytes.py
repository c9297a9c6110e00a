"""Stored values: checksums, int32 tensors of torch, and errors about damage.

A checksum covers key and content, so that both damaged and misplaced values are detected.
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

# The errors of JSON, zip, pickle, Zstandard and NumPy for damaged bytes.
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
    """Raise decoding errors of the block as a StoreError with the message `what`."""
    try:
        yield
    except _DAMAGE as error:
        got = f"{type(error).__name__}: {error}"
        raise StoreError(what, where=where, got=got, expected=expected, hint=hint) from error


def checksum(key: str, content: bytes) -> bytes:
    """The 8-byte checksum of a key and its content."""
    return hashlib.blake2b(content, digest_size=_SIZE, key=hashlib.blake2b(key.encode()).digest()).digest()


def stated_checksum(head: bytes) -> bytes:
    """The checksum in the first HEAD_SIZE bytes of a sealed value."""
    return head[len(_SEAL) : HEAD_SIZE]


def seal(key: str, content: bytes) -> bytes:
    """The value to store: the content with its checksum."""
    return _SEAL + checksum(key, content) + content


def is_sealed(value: bytes) -> bool:
    """Whether a value has a checksum."""
    return value.startswith(_SEAL)


def unseal(key: str, value: bytes) -> bytes:
    """The content of a stored value. Raises ValueError if its checksum is wrong."""
    content = value[len(_SEAL) + _SIZE :]
    if not is_sealed(value) or value[len(_SEAL) : len(_SEAL) + _SIZE] != checksum(key, content):
        raise ValueError("wrong checksum")
    return content


class _TensorUnpickler(pickle.Unpickler):
    """Reads the pickle of a plain tensor without calling anything: its three names return their arguments."""

    _KNOWN = ("_rebuild_tensor_v2", "IntStorage", "OrderedDict")

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._KNOWN:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return name if name == "IntStorage" else lambda *arguments: arguments

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_int32_tensor(value: bytes, where: str = "") -> Int32s:
    """Read a contiguous 1-dimensional int32 tensor. Raises StoreError, which names `where`, for anything else."""
    with decoding("A stored value is not an int32 tensor.", where), zipfile.ZipFile(io.BytesIO(value)) as archive:
        folder = archive.namelist()[0].split("/")[0]
        tensor = _TensorUnpickler(io.BytesIO(archive.read(f"{folder}/data.pkl"))).load()
        (_, kind, key, _, _), offset, size, stride = tensor[:4]
        if kind != "IntStorage" or len(size) != 1 or tuple(stride) != (1,):
            raise pickle.UnpicklingError(f"a {kind} of size {size}")
        data = archive.read(f"{folder}/data/{key}")
        return np.frombuffer(data, "<i4", size[0], 4 * offset).astype(np.int32)
