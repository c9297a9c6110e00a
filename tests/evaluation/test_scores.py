"""The benchmark's result files, written by this program and by others."""

from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import InputError
from rwkv.evaluation.metrics import recall_metrics
from rwkv.evaluation.scores import Score, read_scores, score, write_scores

P, Y, BINS = np.array([0.9, 0.4, 0.7]), np.array([1, 0, 1]), np.array([0, 0, 1])

# A line as the benchmark writes it, with unknown metrics and fields.
FOREIGN = (
    '{"metrics": {"RMSE": 0.3, "LogLoss": 0.25, "RMSE(bins)": 0.05, "ICI": 0.01, "AUC": NaN}, "user": 3, "size": 40, '
    '"parameters": {"0": [0.1, 0.2]}}\n'
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ours = score(P, Y, BINS)
    assert ours == Score(recall_metrics(P, Y, BINS), 3)
    write_scores(tmp_path / "new", "FSRS-6.1", {8: ours, 2: ours})
    path = tmp_path / "new" / "FSRS-6.1.jsonl"
    assert read_scores(path) == {2: ours, 8: ours}
    assert [line.split('"user": ')[1] for line in path.read_text().splitlines()] == ['2, "size": 3}', '8, "size": 3}']


def test_other_users_lines_stay_and_ours_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "AVG.jsonl"
    path.write_text(FOREIGN)
    write_scores(tmp_path, "AVG", {1: Score({"LogLoss": 0.5}, 9), 5: Score({"LogLoss": 0.6}, 9)})
    write_scores(tmp_path, "AVG", {1: Score({"LogLoss": 0.7}, 9)})
    assert FOREIGN in path.read_text()
    scores = read_scores(path)
    assert {user: user_score.metrics["LogLoss"] for user, user_score in scores.items()} == {1: 0.7, 3: 0.25, 5: 0.6}


def test_foreign_lines_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "X.jsonl"
    path.write_text(FOREIGN + '{"metrics": {"LogLoss": 0.5}, "user": 4, "size": 2}\n')
    scores = read_scores(path)
    assert scores[3] == Score({"RMSE": 0.3, "LogLoss": 0.25, "RMSE(bins)": 0.05, "AUC": None}, 40)
    assert scores[4].metrics == {"RMSE": None, "LogLoss": 0.5, "RMSE(bins)": None, "AUC": None}


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "[1]",
        '{"user": 1}',
        '{"metrics": {"LogLoss": "low"}, "user": 1, "size": 2}',
        '{"metrics"',
        '{"metrics": {}, "user": 1e999, "size": 2}',
        '{"a":' * 100_000,
    ],
    ids=lambda line: line[:20],
)
def test_a_line_that_is_not_a_result_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "X.jsonl"
    path.write_text(FOREIGN + line)
    with pytest.raises(InputError, match="line 2"):
        read_scores(path)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"X\.jsonl"):
        read_scores(tmp_path / "X.jsonl")
