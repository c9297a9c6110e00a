"""Reads the logs of training runs, as `rwkv.training.tracking` writes them."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rwkv.errors import InputError
from rwkv.files import file_errors
from rwkv.report.content import TrainingRun

SUFFIX = ".log.jsonl"
# What float64, in which pages draw, counts exactly.
_MOST_STEPS = 1 << 53


def read_training_runs(paths: Sequence[Path]) -> list[TrainingRun]:
    """The runs of logs, or of folders of them, in that order. Raises InputError where there is none or it is no log."""
    return [_read_run(log) for path in paths for log in _logs(path)]


def _logs(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        hint = "give SAVE_MODEL_FOLDER of a training, or the log itself"
        raise InputError("The folder holds no log of a training.", where=str(path), expected=f"*{SUFFIX}", hint=hint)
    return found


def _read_run(path: Path) -> TrainingRun:
    """Figures that are none or no numbers, of skipped steps, are left out."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for step, figures in _lines(path):
        for name, value in figures.items():
            if value is not None and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    if not curves:
        raise InputError("The log of the training holds no step.", where=str(path))
    as_arrays = {name: (np.array(steps), np.array(values)) for name, (steps, values) in curves.items()}
    return TrainingRun(path.name.removesuffix(SUFFIX), as_arrays)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, float | None]]]:
    """The last line of a run that is under way may be cut short; it is passed over."""
    if not path.is_file():
        raise InputError("There is no log of a training.", where=str(path), expected=f"SAVE_MODEL_PREFIX{SUFFIX}")
    with file_errors(path):
        lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _figures(line)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            where, got = f"{path}, line {number}", f"{type(error).__name__}: {error}"
            raise InputError("This is no log of a training.", where=where, got=got) from error


def _figures(line: bytes) -> tuple[int, dict[str, float | None]]:
    """The step of a line, and its figures."""
    figures = json.loads(line)
    step = int(figures.pop("step"))
    if not 0 <= step < _MOST_STEPS:
        raise ValueError(f"a step of number {step:.6g}")
    return step, {name: None if value is None else float(value) for name, value in figures.items()}
