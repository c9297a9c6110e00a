"""The score of one algorithm for one user, and its line in the benchmark's result files (spec 6)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.json_lines import JsonLines, read_by_user
from rwkv.evaluation.metrics import METRICS, recall_metrics


@dataclass(frozen=True)
class Score:
    """The metrics of one user.

    Attributes:
        metrics: Value by metric; None where it is not defined.
        size: Number of reviews.
    """

    metrics: Mapping[str, float | None]
    size: int


def score(p: npt.ArrayLike, y: npt.NDArray[np.integer], bins: npt.ArrayLike) -> Score:
    """Score predictions [n]; see `recall_metrics`."""
    metrics = recall_metrics(p, y, bins)
    return Score(metrics, len(y))


def result_line(user: int, user_score: Score) -> dict[str, object]:
    """A user's line in a result file."""
    return {"metrics": dict(user_score.metrics), "user": user, "size": user_score.size}


def read_scores(path: Path) -> dict[int, Score]:
    """Read a result file, of this program or another: the scores by user.

    Unknown metrics and fields are ignored; metrics that the file lacks are None.

    Raises:
        InputError: The file is missing or is not a result file.
    """
    return read_by_user(path, _score_of, "A line of the result file is not a user's result.")


def write_scores(folder: Path, name: str, scores: Mapping[int, Score]) -> None:
    """Write scores by user into folder/name.jsonl; they replace these users' lines, and other lines are kept."""
    file = JsonLines(folder, name)
    file.repair()
    file.append({user: result_line(user, user_score) for user, user_score in scores.items()})
    file.sort()


def _score_of(line: dict[str, Any]) -> Score:
    values = {name: line["metrics"].get(name) for name in METRICS}
    metrics = {name: None if value is None or math.isnan(value) else float(value) for name, value in values.items()}
    return Score(metrics, int(line["size"]))
