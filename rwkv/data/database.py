"""The door to LMDB: opening, reading and atomic writing, with errors in words."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from rwkv.data.lmdb_file import check_lmdb_file
from rwkv.errors import StoreError

_MOST_READERS = 1024
# In LMDB's lock.mdb; more than that, with its header, makes room for more readers.
_BYTES_OF_A_READER = 64


class Database:
    """One LMDB environment.

    size: upper bound of the file in bytes, nothing is allocated for it; size_key: the configuration key that gives it.
    is_checked: whether this command has opened it before, so that its file need not be looked at again.
    durable: whether what was put survives a failure of the power, for which every transaction waits for the disk.
    Raises StoreError where the database is missing (readonly), damaged, or too small for what is written.
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
            raise StoreError("There is no database.", where=str(path), hint=hint)
        if not is_checked:
            _check(path / "data.mdb", readonly)
        is_new = not (readonly or (path / "data.mdb").exists())
        try:
            path.mkdir(parents=True, exist_ok=True)
            _allocate(path / "lock.mdb", _MOST_READERS * _BYTES_OF_A_READER)
            self._env = lmdb.open(
                str(path),
                map_size=size,
                readonly=readonly,
                max_readers=_MOST_READERS,
                readahead=not readonly,
                sync=durable,
            )
        except (lmdb.Error, OSError) as error:
            if is_new:  # what a full disk took of it would be a damaged database for ever
                for name in ("data.mdb", "lock.mdb"):
                    (path / name).unlink(missing_ok=True)
            hint = "see to the free space and the permissions, and run the command again"
            if not is_new:
                hint = f"{hint}; or delete the folder, and run again the command that made it"
            raise StoreError("The database cannot be opened.", where=str(path), got=str(error), hint=hint) from error

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        with self._reading() as transaction:
            value = transaction.get(key.encode())
            return None if value is None else bytes(value)

    def head(self, key: str, size: int) -> bytes | None:
        """The first bytes of the value of a key, or None; the others are not read."""
        with self._reading() as transaction:
            value = transaction.get(key.encode())
            return None if value is None else bytes(value[:size])

    def __contains__(self, key: str) -> bool:
        with self._reading() as transaction:
            return transaction.cursor().set_key(key.encode())

    def put(self, items: Mapping[str, bytes]) -> None:
        """Write all items in one transaction: after a kill either all or none are there."""
        with self._writing() as transaction:
            for key, value in items.items():
                transaction.put(key.encode(), value)

    def delete(self, keys: Iterable[str]) -> None:
        """Take away the items of these keys in one transaction."""
        with self._writing() as transaction:
            for key in keys:
                transaction.delete(key.encode())

    def put_first(self, key: str, value: bytes) -> bytes:
        """Write an item unless there is one of that key, in one transaction; returns the value that is there then."""
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
                "The database is full; what was written before is kept.",
                where=str(self.path),
                got=f"{self._size_key} = {self._size:_}",
                hint=f"raise {self._size_key} and run the command again; it continues where it stopped",
            ) from error
        except lmdb.Error as error:
            raise StoreError(
                "The database cannot be written; what was written before is kept.",
                where=str(self.path),
                got=str(error),
                hint="see to the free space, and run the command again; it continues where it stopped",
            ) from error

    def __iter__(self) -> Iterator[str]:
        """All keys in byte order; bytes that are no text, which only foreign databases hold, come escaped."""
        with self._reading() as transaction:
            for key in transaction.cursor().iternext(values=False):
                yield bytes(key).decode(errors="backslashreplace")

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            with self._env.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise StoreError("The database cannot be read.", where=str(self.path), got=str(error)) from error

    def close(self) -> None:
        self._env.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _allocate(file: Path, size: int) -> None:
    """Give a file that LMDB maps its place on the disk, for a full one would end the process.

    Where the file cannot be written to, LMDB is to judge. Raises OSError where the disk is full.
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
    """Whether a database was begun in the file; an empty one is what a full disk or a kill leaves."""
    return file.is_file() and file.stat().st_size > 0


def _check(file: Path, readonly: bool) -> None:
    """Raise StoreError where LMDB would end the process, or wait for ever."""
    try:
        if file.exists() and not file.is_file():
            raise ValueError("it is no regular file")
        check_lmdb_file(file, to_write=not readonly)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError("The database cannot be opened.", where=str(file.parent), got=str(error)) from error
    except ValueError as error:
        raise StoreError(
            "The database cannot be opened: its file is damaged or cut short.",
            where=str(file),
            got=str(error),
            hint="put back a copy of it, or delete its folder and run again the command that made it",
        ) from error


@dataclass(frozen=True)
class DatabasePlace:
    """Where a database lies, the most bytes it may take and the key that says so, and the command that makes it."""

    path: Path
    size: int
    size_key: str
    made_by: str

    def open(self, is_checked: bool = False) -> Database:
        """Open it for reading. Raises StoreError where it is missing or damaged. is_checked: see Database."""
        hint = f"run `{self.made_by}` first"
        return Database(self.path, self.size, self.size_key, readonly=True, hint=hint, is_checked=is_checked)

    def shared(self) -> Database:
        """The same, but open once and for all in this worker process: LMDB forbids to open a database twice."""
        key = self.path.resolve()
        if key not in _shared:
            _shared[key] = self.open()
        return _shared[key]


_shared: dict[Path, Database] = {}
