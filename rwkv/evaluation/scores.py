"""What came of one algorithm for one user, in the benchmark's result files and out of them (spec 6)."""

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
    """The metrics of one user by name, None where one is not defined, over `size` reviews."""

    metrics: Mapping[str, float | None]
    size: int


def score(p: npt.ArrayLike, y: npt.NDArray[np.integer], bins: npt.ArrayLike) -> Score:
    """The score of predictions [n], see `recall_metrics`."""
    metrics = recall_metrics(p, y, bins)
    return Score(metrics, len(y))


def result_line(user: int, of: Score) -> dict[str, object]:
    """A user's line in a result file."""
    return {"metrics": dict(of.metrics), "user": user, "size": of.size}


def read_scores(path: Path) -> dict[int, Score]:
    """The scores in a result file by user, of whichever program wrote it: further metrics and fields are passed over,
    and those of ours that it lacks are None.

    Raises InputError where it is missing or holds something else.
    """
    return read_by_user(path, _score_of, "A line of a result file is no result of a user.")


def write_scores(folder: Path, name: str, scores: Mapping[int, Score]) -> None:
    """Put scores by user into folder/name.jsonl, in the place of these users' lines; the others' lines stay."""
    file = JsonLines(folder, name)
    file.repair()
    file.append({user: result_line(user, of) for user, of in scores.items()})
    file.sort()


def _score_of(line: dict[str, Any]) -> Score:
    found = {name: line["metrics"].get(name) for name in METRICS}
    metrics = {name: None if value is None or math.isnan(value) else float(value) for name, value in found.items()}
    return Score(metrics, int(line["size"]))
