"""Atomic writes of files, output to pipes and devices, and file system errors as messages."""

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rwkv.errors import InputError
from rwkv.locks import remove_taken, take

_A_FOLDER = "a folder"
_KINDS = {
    stat.S_IFDIR: _A_FOLDER,
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_MOST_LINKS = 40


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise file system errors of the block as an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        what = "The file cannot be read or written."
        got, hint = error.strerror or str(error), "check the path, its permissions and the free space"
        raise InputError(what, where=str(path), got=got, hint=hint) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file atomically: yield a temporary path, and rename it to `path` at the end of the block.

    Missing folders are created and links are followed. A kill or an exception leaves the old file. Of several writers
    the last one wins.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, descriptor = _take_temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        remove_taken(temporary, descriptor)


def _take_temporary(path: Path) -> tuple[Path, int]:
    """The first temporary name that no writer uses, and its lock. The remains of killed writers are overwritten."""
    n, descriptor = 0, None
    while descriptor is None:
        n += 1
        temporary = path.with_name(f"{path.name}.tmp" if n == 1 else f"{path.name}.{n}.tmp")
        descriptor = take(temporary)
    return temporary, descriptor


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, and create its folder. A kill or a power failure leaves the old file or the new one.

    Data for a pipe, /dev/null or /dev/stdout is written directly.

    Raises:
        InputError: The path is a folder or a device, or cannot be written.
    """
    write_whole_parts(path, [data])


def write_whole_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Like `write_whole`, with the data as an iterable, which need not fit into memory."""
    with file_errors(path):
        check_output(path)
        if is_stream(path):
            # A reader may close early, as with stdout.
            with suppress(BrokenPipeError), _open_stream(path) as stream:
                stream.writelines(parts)
            return
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())


# --- Pipes and devices


def check_input(path: Path) -> None:
    """Raise InputError if `path` is a pipe or a device, which may never end."""
    kind = _KINDS.get(stat.S_IFMT(_mode(path)))
    if kind not in (None, _A_FOLDER):
        raise InputError("This is not a file.", where=str(path), got=kind, hint="save its output in a file")


def check_output(path: Path) -> None:
    """Raise InputError if no file can be written to `path`, because it is a folder or a device."""
    kind = _KINDS.get(stat.S_IFMT(_mode(path)))
    if kind is not None and not is_stream(path):
        expected = "a file, a pipe, /dev/stdout or /dev/null"
        what, hint = "No file can be written here.", "choose another path"
        raise InputError(what, where=str(path), got=kind, expected=expected, hint=hint)


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe, /dev/null, or an open descriptor such as /dev/stdout."""
    return open_descriptor(path) is not None or stat.S_ISFIFO(_mode(path)) or _is_null(path)


def open_descriptor(path: Path) -> int | None:
    """This process's descriptor behind a path such as /dev/stdout, or None."""
    for _ in range(_MOST_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        match = re.fullmatch(rf"/(?:dev|proc/{os.getpid()})/fd/(\d+)", str(path))
        if match:
            return int(match[1])
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _open_stream(path: Path) -> BinaryIO:
    descriptor = open_descriptor(path)
    if descriptor is None:
        return path.open("wb")
    sys.stdout.flush()  # keep the order of the output
    return os.fdopen(os.dup(descriptor), "wb")


def _is_null(path: Path) -> bool:
    with suppress(OSError):
        return path.samefile(os.devnull)
    return False


def _mode(path: Path) -> int:
    """The mode of the path's target; 0 if it does not exist."""
    with suppress(OSError):
        return path.stat().st_mode
    return 0


@contextmanager
def unchanged(path: Path) -> Iterator[str]:
    """Yield the file's SHA-256. Raises InputError if the file has changed by the end of the block."""
    before = _stamp(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    yield digest
    if _stamp(path) != before:
        hint = "close the program that writes to it, and rerun"
        raise InputError("The file changed while it was being read.", where=str(path), hint=hint)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
