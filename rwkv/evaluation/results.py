"""The result files: JSON lines, one for each user, of metrics and of single predictions (spec 6)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s, Int32s, Ints
from rwkv.evaluation.json_lines import JsonLines, read_by_user
from rwkv.evaluation.model_note import Model, ModelNote
from rwkv.evaluation.scores import Score, read_scores, result_line, score


@dataclass(frozen=True)
class UserPredictions:
    """The model's predictions of n >= 1 benchmark reviews of one user, in review_th order.

    Attributes:
        user: Number of the user.
        review_th: Numbers of the reviews, int32 [n].
        y: Outcomes, int8 [n]: 1 recalled, 0 forgotten.
        bins: Bins of RMSE(bins), int32 [n].
        p_ahead: Probability of recall by RWKV, from the card's previous review, float32 [n].
        p_imm: Probability of recall by RWKV-P, from the query row, float32 [n].
        p_all: Probability of Again, Hard, Good and Easy by RWKV-P, float32 [n, 4].
        label_elapsed_seconds: Seconds from the card's previous review, int64 [n].
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
        """Whether all probabilities are finite."""
        return all(np.isfinite(p).all() for p in (self.p_ahead, self.p_imm, self.p_all))


@dataclass(frozen=True)
class RawPredictions:
    """One user's line of a raw file.

    Attributes:
        review_th: Numbers of the reviews, int32 [n].
        p: Probability of recall, float32 [n].
        y: Outcomes, float32 [n]: 1.0 recalled, 0.0 forgotten.
    """

    review_th: Int32s
    p: Float32s
    y: Float32s


def read_raw(path: Path) -> dict[int, RawPredictions]:
    """Read the single predictions in a raw file, by user.

    Raises:
        InputError: The file is missing or is not a raw file.
    """
    return read_by_user(path, _raw_predictions, "A line of the file does not hold single predictions.")


def _raw_predictions(line: dict[str, Any]) -> RawPredictions:
    review_th, size = np.array(line["review_th"], np.int32), line["size"]
    p, y = (np.array(line[name], np.float32) for name in ("p", "y"))
    if not review_th.shape == p.shape == y.shape == (size,):
        raise ValueError(f"{len(review_th)} review_th, {len(p)} p, {len(y)} y, size {size}")
    return RawPredictions(review_th, p, y)


@dataclass(frozen=True)
class UserLines:
    """The lines of one user: in the result file and in the raw file of RWKV (ahead) and of RWKV-P (imm).

    The raw lines are empty without RAW.
    """

    user: int
    ahead: dict[str, object]
    imm: dict[str, object]
    raw_ahead: dict[str, object]
    raw_imm: dict[str, object]


def user_lines(predictions: UserPredictions, raw: bool) -> UserLines:
    """Score a user's predictions. raw: whether to list every prediction, too."""
    user, p_ahead, p_imm = predictions.user, predictions.p_ahead, predictions.p_imm
    lines = UserLines(user, _result_line(predictions, p_ahead), _result_line(predictions, p_imm), {}, {})
    if not raw:
        return lines
    # Shape [n, 1], as in the published code.
    seconds = predictions.label_elapsed_seconds.astype(np.float64)[:, None].tolist()
    imm_only = {"label_elapsed_seconds": seconds, "p_all": predictions.p_all.tolist()}
    raw_ahead, raw_imm = _raw_line(predictions, p_ahead), _raw_line(predictions, p_imm)
    return replace(lines, raw_ahead=raw_ahead, raw_imm=raw_imm | imm_only)


class ResultFiles:
    """The files of one evaluation: FILE_AHEAD.jsonl and FILE_IMM.jsonl in the result folder and in the raw folder.

    Only one run may write them at a time. A kill at any moment loses no complete line, and opening the files again
    repairs them. Lines of users outside the run are kept byte for byte.

    Args:
        result_folder: Folder of the metrics.
        raw_folder: Folder of the single predictions; None without RAW.
        file_ahead: Name of the files of RWKV, without ending.
        file_imm: Name of the files of RWKV-P, without ending.

    Raises:
        InputError: A file cannot be read or written, or holds a line that is not a result. No file is changed then.

    Source: Spec 6.
    """

    def __init__(self, result_folder: Path, raw_folder: Path | None, file_ahead: str, file_imm: str) -> None:
        self._ahead, self._imm = JsonLines(result_folder, file_ahead), JsonLines(result_folder, file_imm)
        self._raw = None if raw_folder is None else (JsonLines(raw_folder, file_ahead), JsonLines(raw_folder, file_imm))
        self._files = [*(self._raw or ()), self._ahead, self._imm]
        self._notes = {ModelNote(result_folder, file_ahead): self._ahead, ModelNote(result_folder, file_imm): self._imm}
        for file in self._files:
            file.repair()

    def done(self) -> set[int]:
        """The users with a line in every file, who need no run."""
        return set.intersection(*(file.users for file in self._files))

    def claim(self, users: Iterable[int], model: Model) -> None:
        """Record `model` as the maker of the lines of those users who are not done.

        Raises:
            ConfigError: Another model made a line of one of the users. Nothing is recorded then.
        """
        users = set(users)
        for note, file in self._notes.items():
            note.check(users & file.users, model)
        for note in self._notes:
            note.note(users - self.done(), model)

    def append(self, lines: UserLines) -> None:
        """Write the lines of a user who is not done; they supersede earlier lines of that user.

        Anything else of the result, such as the curve weights, must already be on disk.
        """
        user = lines.user
        pairs = [(self._ahead, lines.ahead), (self._imm, lines.imm)]
        if self._raw is not None:
            pairs = [*zip(self._raw, (lines.raw_ahead, lines.raw_imm), strict=True), *pairs]
        # Files that lack the user come last: a user is done only when every file holds the new line.
        for file, line in sorted(pairs, key=lambda pair: user not in pair[0].users):
            file.append({user: line})

    def scores(self) -> dict[str, dict[int, Score]]:
        """The scores in the two result files, by file and user."""
        return {note.name: read_scores(file.path) if file.users else {} for note, file in self._notes.items()}

    def finish(self) -> None:
        """Sort every file by user and keep only the last line of each."""
        for file in self._files:
            file.sort()


def _result_line(predictions: UserPredictions, p: Float32s) -> dict[str, object]:
    return result_line(predictions.user, score(p, predictions.y, predictions.bins))


def _raw_line(predictions: UserPredictions, p: Float32s) -> dict[str, object]:
    return {
        "user": predictions.user,
        "size": len(predictions),
        "p": p.astype(np.float32).tolist(),
        "y": predictions.y.astype(np.float64).tolist(),
        "review_th": predictions.review_th.tolist(),
    }
