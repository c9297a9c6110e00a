"""Files of JSON lines, one for each user, that survive a kill at any moment: the form of all result files (spec 6)."""

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
    """The bytes of a user's line in a file, start included, end excluded."""

    user: int
    start: int
    end: int


class JsonLines:
    """The file folder/name.jsonl, in which each line is a JSON object with a user number.

    Attributes:
        path: Path of the file.
        users: The users who have a line.

    Raises:
        InputError: The file cannot be read or written, or a line is not a result.
    """

    def __init__(self, folder: Path, name: str) -> None:
        # with_suffix would drop what follows the last dot of the name.
        self.path = folder / f"{name}.jsonl"
        check_input(self.path)
        with result_file_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self.users = {span.user for span in self._spans()}

    def repair(self) -> None:
        """Remove a last line that a kill truncated; add the line feed if only that is missing."""
        if not self._ends_whole():
            self._rewrite(self._spans())

    def append(self, lines: Mapping[int, Mapping[str, object]]) -> None:
        """Append a line for each user and wait until they are on disk."""
        with result_file_errors(self.path), self.path.open("ab") as file:
            file.writelines(json.dumps(line).encode() + b"\n" for line in lines.values())
            file.flush()
            os.fsync(file.fileno())
        self.users.update(lines)

    def sort(self) -> None:
        """Sort the lines by user and keep only the last line of each."""
        spans = self._spans()
        latest = {span.user: span for span in spans}
        ordered = [latest[user] for user in sorted(latest)]
        if ordered != spans:
            self._rewrite(ordered)

    def _spans(self) -> list[_Span]:
        """The complete lines of the file; a truncated last line is ignored."""
        spans: list[_Span] = []
        start = 0
        with result_file_errors(self.path):
            if not self.path.exists():
                return []
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    user = _user_of(line)
                    if user is not None:
                        spans.append(_Span(user, start, start + len(line)))
                    elif line.endswith(b"\n"):
                        raise InputError(
                            "A line of the result file is not a user's result.",
                            where=f"{self.path}, line {number}",
                            got=repr(line[:60]),
                            expected='a JSON object with a number "user"',
                            hint="correct or remove the line, or move the file away; the file was not changed",
                        )
                    start += len(line)
        return spans

    def _ends_whole(self) -> bool:
        """Whether the file is missing, is empty or ends with a line feed."""
        with result_file_errors(self.path):
            if not self.path.exists() or self.path.stat().st_size == 0:
                return True
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read() == b"\n"

    def _rewrite(self, spans: list[_Span]) -> None:
        """Atomically replace the file by these of its lines, in this order."""
        with result_file_errors(self.path), self.path.open("rb") as old:
            write_whole_parts(self.path, _cut(old, spans))


def _cut(file: BinaryIO, spans: Iterable[_Span]) -> Iterator[bytes]:
    """The lines at these spans; a missing line feed is added."""
    for span in spans:
        file.seek(span.start)
        line = file.read(span.end - span.start)
        yield line if line.endswith(b"\n") else line + b"\n"


def _user_of(line: bytes) -> int | None:
    """The user of a line; None if it is not a JSON object with a user."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    user = content.get("user") if isinstance(content, dict) else None
    return user if type(user) is int else None


def read_by_user(path: Path, parse: Callable[[dict[str, Any]], Parsed], message: str) -> dict[int, Parsed]:
    """Read a file of JSON lines.

    Args:
        path: The file.
        parse: Turns the object of a line into a value; may raise ValueError, KeyError, TypeError or OverflowError.
        message: The error message for a line that is not JSON or that `parse` refuses.

    Returns:
        The value of the last line of each user.

    Raises:
        InputError: The file is missing or a line is refused.
    """
    check_input(path)
    parsed = {}
    with result_file_errors(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
                parsed[int(content["user"])] = parse(content)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                where, got = f"{path}, line {number}", f"{type(error).__name__}: {error}"
                hint = "correct or remove the line"
                raise InputError(message, where=where, got=got, hint=hint) from error
    return parsed


@contextmanager
def result_file_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into an InputError that names the result file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "Cannot read or write the result file; everything written before is kept.",
            where=str(path),
            got=str(error),
            hint="check the folder's permissions and free space, then rerun to continue",
        ) from error
