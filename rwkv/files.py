"""Files that appear whole or not at all, and errors of the file system in words."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rwkv.errors import InputError


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
    """Gives a path beside `path`, its folder included, for what is written inside; `path` becomes that at the end.

    A kill at any moment leaves the old file or the new one. Where something is raised inside, the old one stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    yield temporary
    temporary.replace(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, its folder included. A kill or a failure of the power leaves the old file or the new one."""
    write_whole_parts(path, [data])


def write_whole_parts(path: Path, parts: Iterable[bytes]) -> None:
    """The same of parts that are made as they are written, so that they need not fit into memory together."""
    with file_errors(path), replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
