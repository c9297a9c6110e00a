"""A file that is only read: its hash, and proof that nobody changed it meanwhile."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rwkv.errors import InputError


@contextmanager
def unchanged(path: Path) -> Iterator[str]:
    """The file's SHA-256. Raises InputError at the end where the file is another one by then."""
    before = _stamp(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    yield digest
    if _stamp(path) != before:
        hint = "close the program that writes to it and try again"
        raise InputError("The file was changed while it was read.", where=str(path), hint=hint)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
