"""Read the training logs that `rwkv.training.tracking` writes."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rwkv.errors import InputError
from rwkv.files import file_errors
from rwkv.report.content import TrainingRun

SUFFIX = ".log.jsonl"
# The largest integers of float64, the number type of the page.
_MOST_STEPS = 1 << 53


def read_training_runs(paths: Sequence[Path]) -> list[TrainingRun]:
    """Read training logs, or all logs of folders. Raises InputError if a log is missing or damaged."""
    return [_read_run(log) for path in paths for log in _logs(path)]


def _logs(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    logs = sorted(path.glob(f"*{SUFFIX}"))
    if not logs:
        hint = "choose the folder in which a training saved its checkpoints, or a log"
        raise InputError("The folder has no training logs.", where=str(path), expected=f"*{SUFFIX}", hint=hint)
    return logs


def _read_run(path: Path) -> TrainingRun:
    """Read one log. Missing figures and NaN, from skipped steps, are left out."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for step, figures in _lines(path):
        for name, value in figures.items():
            if value is not None and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    if not curves:
        raise InputError("The training log has no steps.", where=str(path), hint="wait for the first step, or omit it")
    as_arrays = {name: (np.array(steps), np.array(values)) for name, (steps, values) in curves.items()}
    return TrainingRun(path.name.removesuffix(SUFFIX), as_arrays)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, float | None]]]:
    """The step and figures of each line. An incomplete last line, of a running training, is ignored."""
    if not path.is_file():
        what, expected, hint = "The training log does not exist.", f"SAVE_MODEL_PREFIX{SUFFIX}", "check the path"
        raise InputError(what, where=str(path), expected=expected, hint=hint)
    with file_errors(path):
        lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _figures(line)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            where, got = f"{path}, line {number}", f"{type(error).__name__}: {error}"
            hint = f"choose a file SAVE_MODEL_PREFIX{SUFFIX} of python -m rwkv.train_rwkv"
            raise InputError("This is not a training log.", where=where, got=got, hint=hint) from error


def _figures(line: bytes) -> tuple[int, dict[str, float | None]]:
    """The step of a line, and its figures."""
    figures = json.loads(line)
    step = int(figures.pop("step"))
    if not 0 <= step < _MOST_STEPS:
        raise ValueError(f"step number {step:.6g}")
    return step, {name: None if value is None else float(value) for name, value in figures.items()}
