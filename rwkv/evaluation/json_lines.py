"""A file of JSON lines, one a user, that a kill at any moment leaves whole: the form of all result files (spec 6)."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from rwkv.errors import InputError
from rwkv.files import check_input, write_whole_parts

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class _Span:
    """Where a user's line lies in a file, in bytes, its end excluded."""

    user: int
    start: int
    end: int


class JsonLines:
    """path: folder/name.jsonl, each line an object with a user. users: those who have a line.

    Raises InputError where the file cannot be read or written, or holds a line that is no result.
    """

    def __init__(self, folder: Path, name: str) -> None:
        # Not with_suffix, which would cut a name at its last dot.
        self.path = folder / f"{name}.jsonl"
        check_input(self.path)
        with told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self.users = {span.user for span in self._spans()}

    def repair(self) -> None:
        """Drop a last line that a kill cut in the middle; where only its line feed is missing, supply it."""
        if not self._ends_whole():
            self._rewrite(self._spans())

    def append(self, lines: Mapping[int, Mapping[str, object]]) -> None:
        """Add lines by user and wait until they are on disk."""
        with told(self.path), self.path.open("ab") as file:
            file.writelines(json.dumps(line).encode() + b"\n" for line in lines.values())
            file.flush()
            os.fsync(file.fileno())
        self.users.update(lines)

    def sort(self) -> None:
        """Sort by user; of several lines of a user the last stays."""
        spans = self._spans()
        latest = {span.user: span for span in spans}
        ordered = [latest[user] for user in sorted(latest)]
        if ordered != spans:
            self._rewrite(ordered)

    def _spans(self) -> list[_Span]:
        """The whole lines of the file. Raises InputError for a line that is no result, unless it is a cut last one."""
        spans: list[_Span] = []
        start = 0
        with told(self.path):
            if not self.path.exists():
                return []
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    user = _user_of(line)
                    if user is not None:
                        spans.append(_Span(user, start, start + len(line)))
                    elif line.endswith(b"\n"):
                        raise InputError(
                            "A line of a result file is no result of a user.",
                            where=f"{self.path}, line {number}",
                            got=repr(line[:60]),
                            expected='a JSON object with a number "user"',
                            hint="correct or remove the line, or move the file away; it was left as it is",
                        )
                    start += len(line)
        return spans

    def _ends_whole(self) -> bool:
        """Whether the file is missing, empty or ends with a line feed."""
        with told(self.path):
            if not self.path.exists() or self.path.stat().st_size == 0:
                return True
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read() == b"\n"

    def _rewrite(self, spans: list[_Span]) -> None:
        """Replace the file by these of its lines, in this order, at once."""
        with told(self.path), self.path.open("rb") as old:
            write_whole_parts(self.path, _cut(old, spans))


def _cut(file: BinaryIO, spans: Iterable[_Span]) -> Iterator[bytes]:
    """The lines at these places; a missing line feed is supplied."""
    for span in spans:
        file.seek(span.start)
        line = file.read(span.end - span.start)
        yield line if line.endswith(b"\n") else line + b"\n"


def _user_of(line: bytes) -> int | None:
    """The user of a line; None where it is not a JSON object with one."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    user = content.get("user") if isinstance(content, dict) else None
    return user if type(user) is int else None


def read_by_user(path: Path, parse: Callable[[dict[str, Any]], Parsed], what: str) -> dict[int, Parsed]:
    """parse(line) by user, of the latest line of each. what: the sentence that says that a line is something else.

    Raises InputError where the file is missing, or a line is not JSON or not what `parse` takes.
    """
    check_input(path)
    found = {}
    with told(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
                found[int(content["user"])] = parse(content)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                where, got = f"{path}, line {number}", f"{type(error).__name__}: {error}"
                raise InputError(what, where=where, got=got) from error
    return found


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Inside, errors of the file system are raised as an InputError that names the result file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "A result file cannot be read or written; what was written before is kept.",
            where=str(path),
            got=str(error),
            hint="see to the folder and its free space; the same command continues where it stopped",
        ) from error
