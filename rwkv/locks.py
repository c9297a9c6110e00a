"""Locks that allow one writer at a time. The operating system releases them however a process ends.

A lock is a file that names its holder. It is removed on release, and reused if a killed process left it behind.
On a file system that machines share without common locks, the name of a holder on another machine is its lock.
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
from rwkv.file_systems import shared_file_system
from rwkv.runtime import log, printable

_MOST_SHOWN = 300
_MOST_READ = 4096
# Far more often than other commands remove or create a folder at the same moment.
_MOST_TRIES = 100
# Errors of file systems without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

# The descriptors of this process's locks.
_held: set[int] = set()


def only_writer_in(folder: Path, instead: str) -> AbstractContextManager[None]:
    """Keep other commands from writing to a folder. The folder is created, and removed at the end if it is empty.

    Args:
        folder: The folder.
        instead: An alternative for the message's hint, such as "another folder".

    Raises:
        BusyError: Another command is writing there. The message names it.
        InputError: The folder cannot be written to.
    """
    # The lock is inside the folder, so that every path to the folder leads to the same lock.
    return _only_writer(folder / "rwkv.lock", folder, instead)


def only_writer_of(path: Path, instead: str) -> AbstractContextManager[None]:
    """Like `only_writer_in`, for a file or for all files with a common prefix."""
    return _only_writer(path.with_name(f"{path.name}.lock"), path, instead)


@contextmanager
def _only_writer(lock: Path, place: Path, instead: str) -> Iterator[None]:
    made: list[Path] = []
    try:
        descriptor = _take_in_folder(lock, made)
    except OSError as error:
        what, hint = "The path cannot be written to.", "check the path, its permissions and the free space"
        raise InputError(what, where=str(place), got=error.strerror or str(error), hint=hint) from error
    if descriptor is not None and (holder := _on_another_machine(descriptor, lock)):
        _let_go(descriptor)
        hint = f"wait until it ends; if it was killed, remove {lock} and rerun"
        raise BusyError(f"A command on another machine is writing here: {holder}.", where=str(place), hint=hint)
    if descriptor is None:
        hint = f"wait until it ends, or choose {instead}"
        raise BusyError(f"Another command is writing here: {_holder(lock)}.", where=str(place), hint=hint)
    try:
        _name_holder(descriptor)
        yield
    finally:
        remove_taken(lock, descriptor)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()  # up to the first non-empty one


def _take_in_folder(lock: Path, made: list[Path]) -> int | None:
    """Take a lock in a folder that may be missing. made: receives the folders that were created, deepest first."""
    for _ in range(_MOST_TRIES):
        made[:0] = [folder for folder in lock.parents if not folder.exists() and folder not in made]
        # Another command may have just removed or created the folder.
        with suppress(FileNotFoundError, FileExistsError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            return take(lock)
    # It cannot be created: a file, or a link to nowhere, is in its place.
    lock.parent.mkdir(parents=True, exist_ok=True)
    return take(lock)


def _name_holder(descriptor: int) -> None:
    command = shlex.join(sys.orig_argv)[:_MOST_SHOWN]
    text = f"process {os.getpid()} of {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}, {command}"
    with suppress(OSError):  # on a full disk the lock works without its holder's name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(errors="replace"), 0)


def _on_another_machine(descriptor: int, lock: Path) -> str:
    """The holder on another machine, where a lock of this one does not hold there; otherwise "".

    Whether it still runs cannot be known: a killed command leaves its name, too.
    """
    file_system = shared_file_system(lock.parent)
    if file_system is None or file_system.has_locks:
        return ""
    holder = printable(os.pread(descriptor, _MOST_READ, 0).decode(errors="replace"))
    return "" if not holder or f" of {platform.node()}, since " in holder else holder


def _holder(lock: Path) -> str:
    """The process that holds a lock, in words. It may have ended, or not have written its name yet."""
    with suppress(OSError):
        return printable(lock.read_text(errors="replace")) or "it has just started"
    return "it has just ended"


# --- Locks on open files


def take(path: Path) -> int | None:
    """Lock a file, which is created if missing, until its descriptor is closed.

    Returns:
        The descriptor, or None if another process holds the lock.

    Raises:
        OSError: The file cannot be opened.
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
        # The previous holder may have removed the file after it was opened here, and a third process created a new one.
        if _lies_at(path, descriptor):
            _held.add(descriptor)
            return descriptor
        os.close(descriptor)


def remove_taken(path: Path, descriptor: int) -> None:
    """Release a lock and remove its file, unless the file was renamed."""
    if descriptor not in _held:  # in a forked worker
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
    log.warning("%s: the file system has no locks; run only one command at a time that writes here", folder)


@cache
def _register_at_fork() -> None:
    """Close the locks in forked workers, which would otherwise hold them after the command was killed."""
    os.register_at_fork(after_in_child=_let_go_of_all)


def _let_go_of_all() -> None:
    for descriptor in list(_held):
        _let_go(descriptor)
