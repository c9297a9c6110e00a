"""The door to the result files: JSON lines, one a user, of metrics and of single predictions (spec 6)."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.errors import InputError
from rwkv.evaluation.metrics import recall_metrics

Float32s = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class UserPredictions:
    """What the model says about the benchmark's reviews of one user, in review_th order. All arrays [n], n >= 1.

    y: 1 recalled, 0 forgotten. bins: those of RMSE(bins). p_ahead: probability of recall by RWKV, from the card's
    review before. p_imm: by RWKV-P, from the query row. p_all [n, 4]: by RWKV-P, of Again, Hard, Good, Easy.
    label_elapsed_seconds: since the card's review before.
    """

    user: int
    review_th: Int32s
    y: npt.NDArray[np.int8]
    bins: Int32s
    p_ahead: Float32s
    p_imm: Float32s
    p_all: Float32s
    label_elapsed_seconds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.review_th)

    @property
    def is_finite(self) -> bool:
        """Whether all probabilities are numbers."""
        return all(np.isfinite(p).all() for p in (self.p_ahead, self.p_imm, self.p_all))


@dataclass(frozen=True)
class RawPredictions:
    """One user's line of a raw file. All arrays [n]: review_th, p the probability of recall, y 1.0 recalled or 0.0."""

    review_th: Int32s
    p: Float32s
    y: Float32s


def read_raw(path: Path) -> dict[int, RawPredictions]:
    """The single predictions in a raw file, by user. Raises InputError where it is missing or holds something else."""
    found = {}
    with _told(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
                found[content["user"]] = _raw_predictions(content)
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                where, got = f"{path}, line {number}", f"{type(error).__name__}: {error}"
                raise InputError("The file holds no single predictions.", where=where, got=got) from error
    return found


def _raw_predictions(of: dict[str, Any]) -> RawPredictions:
    review_th, p, y = np.array(of["review_th"], np.int32), np.array(of["p"], np.float32), np.array(of["y"], np.float32)
    if not review_th.shape == p.shape == y.shape == (of["size"],):
        raise ValueError(f"{len(review_th)} review_th, {len(p)} p, {len(y)} y, size {of['size']}")
    return RawPredictions(review_th, p, y)


class ResultFiles:
    """The files of one evaluation: FILE_AHEAD.jsonl and FILE_IMM.jsonl in the result folder, and in the raw folder.

    raw_folder: None without RAW. One run at a time writes them. A kill at any moment loses no line; opening them again
    puts right what it left behind. Lines of users outside the run stay as they are, byte for byte.
    Raises InputError where a file cannot be read or written. One that holds a line that is no result is left as it is,
    and so are the others. Source: spec 6.
    """

    def __init__(self, result_folder: Path, raw_folder: Path | None, file_ahead: str, file_imm: str) -> None:
        self._ahead, self._imm = _Lines(result_folder, file_ahead), _Lines(result_folder, file_imm)
        self._raw = None if raw_folder is None else (_Lines(raw_folder, file_ahead), _Lines(raw_folder, file_imm))
        self._files = [*(self._raw or ()), self._ahead, self._imm]
        for file in self._files:
            file.repair()

    def done(self) -> set[int]:
        """The users that need no run: those in every file."""
        return set.intersection(*(file.users for file in self._files))

    def append(self, predictions: UserPredictions) -> None:
        """Write the lines of a user who is not done; any that he has already are superseded.

        What else belongs to his result, such as his curve weights, must be on disk before.
        """
        of = predictions
        lines = [(self._ahead, _result_line(of, of.p_ahead)), (self._imm, _result_line(of, of.p_imm))]
        if self._raw is not None:
            seconds = {"label_elapsed_seconds": of.label_elapsed_seconds.tolist(), "p_all": of.p_all.tolist()}
            raw_ahead, raw_imm = self._raw
            lines = [(raw_ahead, _raw_line(of, of.p_ahead)), (raw_imm, _raw_line(of, of.p_imm) | seconds), *lines]
        # Files that lack the user come last: he is done only when every file holds his new line.
        for file, line in sorted(lines, key=lambda pair: of.user not in pair[0].users):
            file.append(of.user, line)

    def finish(self) -> None:
        """Leave every file sorted by user, the latest line of each."""
        for file in self._files:
            file.sort()


def _result_line(of: UserPredictions, p: Float32s) -> dict[str, object]:
    return {"metrics": recall_metrics(p, of.y, of.bins), "user": of.user, "size": len(of)}


def _raw_line(of: UserPredictions, p: Float32s) -> dict[str, object]:
    return {
        "user": of.user,
        "size": len(of),
        "p": p.astype(np.float32).tolist(),
        "y": of.y.astype(np.float64).tolist(),
        "review_th": of.review_th.tolist(),
    }


@dataclass(frozen=True)
class _Span:
    """Where a user's line lies in a file, in bytes, its end excluded."""

    user: int
    start: int
    end: int


class _Lines:
    """A file of JSON lines, each an object with a user. users: those who have a line."""

    def __init__(self, folder: Path, name: str) -> None:
        # Not with_suffix, which would cut a name at its last dot.
        self._path = folder / f"{name}.jsonl"
        with _told(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self.users = {span.user for span in self._spans()}

    def repair(self) -> None:
        """Drop a last line that a kill cut in the middle; where only its line feed is missing, supply it."""
        if not self._ends_whole():
            self._rewrite(self._spans())

    def append(self, user: int, line: dict[str, object]) -> None:
        """Add a line and wait until it is on disk."""
        with _told(self._path), self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.users.add(user)

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
        with _told(self._path):
            if not self._path.exists():
                return []
            with self._path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    user = _user_of(line)
                    if user is not None:
                        spans.append(_Span(user, start, start + len(line)))
                    elif line.endswith(b"\n"):
                        raise InputError(
                            "A line of a result file is no result of a user.",
                            where=f"{self._path}, line {number}",
                            got=repr(line[:60]),
                            expected='a JSON object with a number "user"',
                            hint="correct or remove the line, or move the file away; it was left as it is",
                        )
                    start += len(line)
        return spans

    def _ends_whole(self) -> bool:
        """Whether the file is missing, empty or ends with a line feed."""
        with _told(self._path):
            if not self._path.exists() or self._path.stat().st_size == 0:
                return True
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read() == b"\n"

    def _rewrite(self, spans: list[_Span]) -> None:
        """Replace the file by these of its lines, in this order, at once."""
        temporary = self._path.with_name(self._path.name + ".tmp")
        with _told(self._path):
            with self._path.open("rb") as old, temporary.open("wb") as new:
                for span in spans:
                    old.seek(span.start)
                    line = old.read(span.end - span.start)
                    new.write(line if line.endswith(b"\n") else line + b"\n")
                new.flush()
                os.fsync(new.fileno())
            temporary.replace(self._path)


def _user_of(line: bytes) -> int | None:
    """The user of a line; None where it is not a JSON object with one."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    user = content.get("user") if isinstance(content, dict) else None
    return user if type(user) is int else None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "A result file cannot be read or written; what was written before is kept.",
            where=str(path),
            got=str(error),
            hint="see to the folder and its free space; the same command continues where it stopped",
        ) from error
