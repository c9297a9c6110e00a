"""Logs of trainings as the report reads them, from any writer."""

import math
from pathlib import Path

import pytest

from rwkv.errors import InputError
from rwkv.report.training_logs import read_training_runs


def write(folder: Path, *lines: str) -> Path:
    path = folder / "p.log.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_figures_are_read_by_name_and_step(tmp_path: Path) -> None:
    path = write(tmp_path, '{"step": 1, "loss": 2}', '{"step": 2, "loss": null}', '{"step": 3, "loss": 0.5, "norm": 1}')
    path.write_text(path.read_text() + '{"step": 4, "lo')
    (run,) = read_training_runs([tmp_path])
    assert run.name == "p"
    assert {name: [column.tolist() for column in curve] for name, curve in run.curves.items()} == {
        "loss": [[1, 3], [2.0, 0.5]],
        "norm": [[3], [1.0]],
    }


def test_values_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    (run,) = read_training_runs([write(tmp_path, '{"step": 1, "loss": Infinity, "norm": NaN, "rate": 1e-3}')])
    assert list(run.curves) == ["rate"]
    assert all(math.isfinite(value) for _, values in run.curves.values() for value in values)


@pytest.mark.parametrize(
    "line",
    [
        '{"step": Infinity, "loss": 1}',
        '{"step": 1e999, "loss": 1}',
        '{"step": NaN, "loss": 1}',
        '{"step": 1e300, "loss": 1}',
        '{"step": -1, "loss": 1}',
        '{"step": [1], "loss": 1}',
        '{"loss": 1}',
        '{"step": 1, "loss": ' + "9" * 400 + "}",
        '{"step": 1, "loss": {"a": 1}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        "7",
        "null",
        "",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=lambda line: line[:24] or "nothing",
)
def test_a_damaged_log_is_an_error_that_names_the_line(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, '{"step": 1, "loss": 1}', line, '{"step": 3, "loss": 1}')
    with pytest.raises(InputError, match=r"not a training log(.|\n)*line 2"):
        read_training_runs([path])
