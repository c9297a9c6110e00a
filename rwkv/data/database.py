"""LMDB databases: opening, reading and atomic writing, with errors as messages. The only module that uses LMDB."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from rwkv.data.lmdb_file import check_lmdb_file, revision
from rwkv.errors import StoreError
from rwkv.file_systems import shared_file_system
from rwkv.runtime import log

_MOST_READERS = 1024
# The size of LMDB's lock.mdb with its default number of readers; a larger one has room for more.
_BYTES_OF_A_READER = 64
# The environment variable that allows databases on any file system.
_ALLOWED = "RWKV_SHARED_LMDB"


class Database:
    """An LMDB environment.

    Args:
        size: The largest size of the file in bytes. Nothing is reserved.
        size_key: The configuration key of the size, for messages.
        is_checked: Whether this command has checked the file before.
        durable: Whether written data survives a power failure. Every transaction then waits for the disk.

    Raises:
        StoreError: The database is missing (readonly), damaged, too small for the data, or to be written to a file
            system that machines share.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        size_key: str,
        readonly: bool = False,
        hint: str = "",
        durable: bool = True,
        is_checked: bool = False,
    ) -> None:
        self.path = path
        self._size = size
        self._size_key = size_key
        if readonly and not _holds_something(path / "data.mdb"):
            raise StoreError("The database does not exist.", where=str(path), hint=hint)
        shared = shared_file_system(path)
        if shared is not None:
            _check_shared(path, shared.kind, readonly)
        if not is_checked:
            _check(path / "data.mdb", readonly)
        is_new = not (readonly or (path / "data.mdb").exists())
        try:
            path.mkdir(parents=True, exist_ok=True)
            if shared is None:
                _allocate(path / "lock.mdb", _MOST_READERS * _BYTES_OF_A_READER)
            self._env = lmdb.open(
                str(path),
                map_size=size,
                readonly=readonly,
                max_readers=_MOST_READERS,
                readahead=not readonly,
                sync=durable,
                lock=shared is None,  # LMDB's locks are in memory that only processes of one machine share
            )
        except (lmdb.Error, OSError) as error:
            if is_new:  # after a full disk, remove the partial file, which would count as damaged
                for name in ("data.mdb", "lock.mdb"):
                    (path / name).unlink(missing_ok=True)
            hint = "check the free space and the permissions, and rerun the command"
            if not is_new:
                hint = f"{hint}; or delete the folder, and rerun the command that created it"
            raise StoreError("The database cannot be opened.", where=str(path), got=str(error), hint=hint) from error

    def get(self, key: str) -> bytes | None:
        """Read the value of a key, or None."""
        with self._reading() as transaction:
            value = transaction.get(key.encode())
            return None if value is None else bytes(value)

    def head(self, key: str, size: int) -> bytes | None:
        """Read only the first bytes of a key's value, or None."""
        with self._reading() as transaction:
            value = transaction.get(key.encode())
            return None if value is None else bytes(value[:size])

    def __contains__(self, key: str) -> bool:
        with self._reading() as transaction:
            return transaction.cursor().set_key(key.encode())

    def put(self, items: Mapping[str, bytes]) -> None:
        """Write items in one transaction. After a kill either all or none are stored."""
        with self._writing() as transaction:
            for key, value in items.items():
                transaction.put(key.encode(), value)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete items in one transaction."""
        with self._writing() as transaction:
            for key in keys:
                transaction.delete(key.encode())

    def put_first(self, key: str, value: bytes) -> bytes:
        """Write an item unless its key exists, in one transaction. Returns the stored value."""
        with self._writing() as transaction:
            if transaction.put(key.encode(), value, overwrite=False):
                return value
            return bytes(transaction.get(key.encode()))

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            with self._env.begin(write=True) as transaction:
                yield transaction
        except lmdb.MapFullError as error:
            raise StoreError(
                "The database is full. Data written before is kept.",
                where=str(self.path),
                got=f"{self._size_key} = {self._size:_}",
                hint=f"raise {self._size_key} and rerun to continue",
            ) from error
        except lmdb.Error as error:
            raise StoreError(
                "The database cannot be written. Data written before is kept.",
                where=str(self.path),
                got=str(error),
                hint="check the free space and rerun to continue",
            ) from error

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in byte order. Bytes that are not UTF-8, from foreign databases, are escaped."""
        with self._reading() as transaction:
            for key in transaction.cursor().iternext(values=False):
                yield bytes(key).decode(errors="backslashreplace")

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            with self._env.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            hint = "check the path and the disk"
            raise StoreError("The database cannot be read.", where=str(self.path), got=str(error), hint=hint) from error

    def close(self) -> None:
        self._env.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_shared(path: Path, kind: str, readonly: bool) -> None:
    """Refuse to write to a file system that machines share, where LMDB is not safe. Reading gets a notice."""
    if readonly:
        _notice_once(path, kind)
    elif os.environ.get(_ALLOWED) != "1":
        raise StoreError(
            "LMDB databases cannot be written safely on a file system that several machines share.",
            where=str(path),
            got=f"a file system of the kind {kind}",
            expected="a local disk",
            hint="choose a path on a local disk, and copy the folder when the command has ended; or, if nothing else "
            f"uses it meanwhile, set the environment variable {_ALLOWED}=1",
        )


@cache
def _notice_once(path: Path, kind: str) -> None:
    log.info("%s: several machines share this file system (%s); no command may write here meanwhile", path, kind)


def _allocate(file: Path, size: int) -> None:
    """Allocate the disk space of a file that LMDB maps, because a full disk would kill the process later.

    A file that cannot be opened is left to LMDB. Raises OSError if the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        with file.open("ab") as table:
            os.posix_fallocate(table.fileno(), 0, size)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise


def _holds_something(file: Path) -> bool:
    """Whether the file has any contents. A full disk or a kill leaves it empty."""
    return file.is_file() and file.stat().st_size > 0


def _check(file: Path, readonly: bool) -> None:
    """Raise StoreError for a file with which LMDB would crash or hang."""
    try:
        if file.exists() and not file.is_file():
            raise ValueError("it is not a regular file")
        check_lmdb_file(file, to_write=not readonly)
    except FileNotFoundError:
        return
    except OSError as error:
        got, hint = error.strerror or str(error), "check the path and its permissions"
        raise StoreError("The database cannot be opened.", where=str(file.parent), got=got, hint=hint) from error
    except ValueError as error:
        raise StoreError(
            "The database cannot be opened: its file is damaged or truncated.",
            where=str(file),
            got=str(error),
            hint="restore a backup, or delete the folder and rerun the command that created it",
        ) from error


def identity(path: Path) -> str:
    """A text that is the same only for the same contents of a database or file; "" for other folders.

    Reads little of a database, and does not check it.
    """
    try:
        if (path / "data.mdb").is_file():
            return revision(path / "data.mdb")
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (OSError, ValueError) as error:
        return str(error)


@dataclass(frozen=True)
class DatabasePlace:
    """The place of a database: its path, its largest size with the configuration key, and the command that fills it."""

    path: Path
    size: int
    size_key: str
    made_by: str

    def open(self, is_checked: bool = False) -> Database:
        """Open it for reading. Raises StoreError if it is missing or damaged. is_checked: see Database."""
        hint = f"run `{self.made_by}` first"
        return Database(self.path, self.size, self.size_key, readonly=True, hint=hint, is_checked=is_checked)

    def shared(self) -> Database:
        """Open it once per worker process, because LMDB forbids opening a database twice."""
        key = self.path.resolve()
        if key not in _shared:
            _shared[key] = self.open()
        return _shared[key]


_shared: dict[Path, Database] = {}
