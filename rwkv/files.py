"""Files that appear whole or not at all, what is written elsewhere, and errors of the file system in words."""

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
    """Inside, errors of the file system are raised as an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        what = "The file cannot be read or written."
        raise InputError(what, where=str(path), got=error.strerror or str(error)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path of this writer alone for what is written inside; `path`, its folder included, becomes that at last.

    A kill at any moment leaves the old file or the new one, and so does what is raised inside. Of several writers the
    last stays. A link is followed.
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
    """The first name that no writer uses now, and its lock. What a killed one left under it is written over."""
    n, descriptor = 0, None
    while descriptor is None:
        n += 1
        temporary = path.with_name(f"{path.name}.tmp" if n == 1 else f"{path.name}.{n}.tmp")
        descriptor = take(temporary)
    return temporary, descriptor


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, its folder included. A kill or a failure of the power leaves the old file or the new one.

    A pipe, /dev/null, and /dev/stdout, whatever it is, are written into. Raises InputError where it cannot be written.
    """
    write_whole_parts(path, [data])


def write_whole_parts(path: Path, parts: Iterable[bytes]) -> None:
    """The same of parts that are made as they are written, so that they need not fit into memory together."""
    with file_errors(path):
        check_output(path)
        if is_stream(path):
            # A reader that has had enough is no error, as with stdout.
            with suppress(BrokenPipeError), _open_stream(path) as stream:
                stream.writelines(parts)
            return
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())


# --- What is no file


def check_input(path: Path) -> None:
    """Raise InputError where `path` is neither file nor folder: what is read from a pipe or a device may never end."""
    kind = _KINDS.get(stat.S_IFMT(_mode(path)))
    if kind not in (None, _A_FOLDER):
        raise InputError("This is no file.", where=str(path), got=kind, hint="save what it gives in a file")


def check_output(path: Path) -> None:
    """Raise InputError, before any work is done for it, where `path` is no place for a file: a folder or a device."""
    kind = _KINDS.get(stat.S_IFMT(_mode(path)))
    if kind is not None and not is_stream(path):
        expected = "a file, a pipe, /dev/stdout or /dev/null"
        raise InputError("This is no place for a file.", where=str(path), got=kind, expected=expected)


def is_stream(path: Path) -> bool:
    """Whether what is written to `path` goes elsewhere: into a pipe, to /dev/null, or to an open descriptor."""
    return open_descriptor(path) is not None or stat.S_ISFIFO(_mode(path)) or _is_null(path)


def open_descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path such as /dev/stdout stands for, or None."""
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
    sys.stdout.flush()  # what was printed before comes first
    return os.fdopen(os.dup(descriptor), "wb")


def _is_null(path: Path) -> bool:
    with suppress(OSError):
        return path.samefile(os.devnull)
    return False


def _mode(path: Path) -> int:
    """Of what a path leads to; 0 where there is nothing."""
    with suppress(OSError):
        return path.stat().st_mode
    return 0


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
