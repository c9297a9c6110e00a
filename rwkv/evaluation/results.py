"""The door to the result files: JSON lines, one a user, of metrics and of single predictions (spec 6)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s, Int32s, Ints
from rwkv.evaluation.json_lines import JsonLines, read_by_user
from rwkv.evaluation.model_note import MadeBy, Model
from rwkv.evaluation.scores import Score, read_scores, result_line, score


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
    label_elapsed_seconds: Ints

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
    return read_by_user(path, _raw_predictions, "The file holds no single predictions.")


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
        self._ahead, self._imm = JsonLines(result_folder, file_ahead), JsonLines(result_folder, file_imm)
        self._raw = None if raw_folder is None else (JsonLines(raw_folder, file_ahead), JsonLines(raw_folder, file_imm))
        self._files = [*(self._raw or ()), self._ahead, self._imm]
        self._made_by = {MadeBy(result_folder, file_ahead): self._ahead, MadeBy(result_folder, file_imm): self._imm}
        for file in self._files:
            file.repair()

    def done(self) -> set[int]:
        """The users that need no run: those in every file."""
        return set.intersection(*(file.users for file in self._files))

    def claim(self, users: Iterable[int], model: Model) -> None:
        """Note, beside the result files, that `model` is to make the lines of those of the users who are not done.

        Raises ConfigError, and notes nothing, where another model made a line that one of the users has.
        """
        users = set(users)
        for made_by, file in self._made_by.items():
            made_by.check(users & file.users, model)
        for made_by in self._made_by:
            made_by.note(users - self.done(), model)

    def append(self, predictions: UserPredictions) -> None:
        """Write the lines of a user who is not done; any that he has already are superseded.

        What else belongs to his result, such as his curve weights, must be on disk before.
        """
        of = predictions
        lines = [(self._ahead, _result_line(of, of.p_ahead)), (self._imm, _result_line(of, of.p_imm))]
        if self._raw is not None:
            # Each in a list of its own, as the published code has them.
            seconds = of.label_elapsed_seconds.astype(np.float64)[:, None].tolist()
            more = {"label_elapsed_seconds": seconds, "p_all": of.p_all.tolist()}
            raw_ahead, raw_imm = self._raw
            lines = [(raw_ahead, _raw_line(of, of.p_ahead)), (raw_imm, _raw_line(of, of.p_imm) | more), *lines]
        # Files that lack the user come last: he is done only when every file holds his new line.
        for file, line in sorted(lines, key=lambda pair: of.user not in pair[0].users):
            file.append({of.user: line})

    def scores(self) -> dict[str, dict[int, Score]]:
        """What stands in the two result files, by file and user."""
        return {made_by.name: read_scores(file.path) if file.users else {} for made_by, file in self._made_by.items()}

    def finish(self) -> None:
        """Leave every file sorted by user, the latest line of each."""
        for file in self._files:
            file.sort()


def _result_line(of: UserPredictions, p: Float32s) -> dict[str, object]:
    return result_line(of.user, score(p, of.y, of.bins))


def _raw_line(of: UserPredictions, p: Float32s) -> dict[str, object]:
    return {
        "user": of.user,
        "size": len(of),
        "p": p.astype(np.float32).tolist(),
        "y": of.y.astype(np.float64).tolist(),
        "review_th": of.review_th.tolist(),
    }
