"""One writer at a time, by locks that the operating system releases however a process ends.

A lock is on a file that is there meanwhile and says who holds it. One that a killed process left is taken over.
"""

import errno
import fcntl
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path

from rwkv.errors import BusyError, InputError
from rwkv.runtime import log, printable

_MOST_SHOWN = 300
# What file systems answer that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

# The descriptors by which this process holds locks.
_held: set[int] = set()


def only_writer_in(folder: Path, instead: str) -> AbstractContextManager[None]:
    """Inside, no other command writes into a folder. It is made where it is missing, and removed if it stays empty.

    instead: what else may be given, for the message. Raises BusyError, which names who is writing there, and InputError
    where nothing can be written.
    """
    # The lock lies within, so that all paths that lead to the folder lead to the same lock.
    return _only_writer(folder / "rwkv.lock", folder, instead)


def only_writer_of(path: Path, instead: str) -> AbstractContextManager[None]:
    """The same of a file, or of all files whose names begin so."""
    return _only_writer(path.with_name(f"{path.name}.lock"), path, instead)


@contextmanager
def _only_writer(lock: Path, place: Path, instead: str) -> Iterator[None]:
    made: list[Path] = []
    try:
        descriptor = _take_in_folder(lock, made)
    except OSError as error:
        what, hint = "The place cannot be written to.", "see to the path, its permissions and the free space"
        raise InputError(what, where=str(place), got=error.strerror or str(error), hint=hint) from error
    if descriptor is None:
        hint = f"wait until it has ended, or give {instead}"
        raise BusyError(f"Another command is writing there: {_holder(lock)}.", where=str(place), hint=hint)
    try:
        _name_holder(descriptor)
        yield
    finally:
        remove_taken(lock, descriptor)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()  # up to the first that is not empty


def _take_in_folder(lock: Path, made: list[Path]) -> int | None:
    """Take a lock in a folder that may be missing. made: gets the folders that were, the deepest first."""
    while True:
        made[:0] = [folder for folder in lock.parents if not folder.exists()]
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a command that left the folder empty has removed it
            return take(lock)


def _name_holder(descriptor: int) -> None:
    command = shlex.join(sys.orig_argv)[:_MOST_SHOWN]
    text = f"process {os.getpid()} of {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}, {command}"
    with suppress(OSError):  # the lock holds without its holder's name, which a full disk does not take
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(errors="replace"), 0)


def _holder(lock: Path) -> str:
    """Who holds a lock; it may be gone by now, or not have said so yet."""
    with suppress(OSError):
        return printable(lock.read_text(errors="replace")) or "it has just begun"
    return "it has just ended"


# --- The lock itself


def take(path: Path) -> int | None:
    """Lock the file at `path`, made where it is missing, until its descriptor is closed; None where another holds it.

    Raises OSError.
    """
    _register_at_fork()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(descriptor, path.parent):
                os.close(descriptor)
                return None
        except OSError:
            os.close(descriptor)
            raise
        # Who held it before may have removed the file since it was opened, and a third have made another.
        if _lies_at(path, descriptor):
            _held.add(descriptor)
            return descriptor
        os.close(descriptor)


def remove_taken(path: Path, descriptor: int) -> None:
    """Remove the file of a lock that was taken, unless it was moved away, and release the lock."""
    if descriptor not in _held:  # a worker that was forked
        return
    with suppress(OSError):
        if _lies_at(path, descriptor):
            path.unlink()
    _let_go(descriptor)


def _lock(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_once(folder)
    return True


def _lies_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _let_go(descriptor: int) -> None:
    _held.remove(descriptor)
    os.close(descriptor)


@cache
def _warn_once(folder: Path) -> None:
    log.warning("%s: the file system knows no locks, so run no two commands at once that write there", folder)


@cache
def _register_at_fork() -> None:
    """Worker processes would hold the locks beyond the end of a command that is killed."""
    os.register_at_fork(after_in_child=_let_go_of_all)


def _let_go_of_all() -> None:
    for descriptor in list(_held):
        _let_go(descriptor)
