"""get_result records the model of its results, refuses another one, and prints the means at the end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark.evaluation import AHEAD, IMM, NO_KEYS_USER, USERS, Evaluation
from tests.benchmark.workspace import assert_said


def other(evaluation: Evaluation) -> str:
    return str(evaluation.inputs / "other.pth")


def note(evaluation: Evaluation, name: str) -> Path:
    return evaluation.root / "result" / f"{name}.model.json"


def test_another_model_over_the_same_users_is_refused(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation.run(USER_IDS=[1, 2]) == 0
    before, notes = evaluation.files(), [note(evaluation, name).read_bytes() for name in (AHEAD, IMM)]
    capsys.readouterr()
    assert evaluation.run(MODEL_PATH=other(evaluation)) == 2
    assert_said(capsys, "Another model", "2 of the configured users", "model.pth", "other.pth", "FILE_AHEAD")
    assert evaluation.files() == before
    assert [note(evaluation, name).read_bytes() for name in (AHEAD, IMM)] == notes
    assert evaluation.run() == 0
    assert list(evaluation.lines("result", AHEAD)) == list(USERS)


def test_the_note_names_both_models(evaluation: Evaluation) -> None:
    assert evaluation.run(USER_IDS=[1, 2]) == 0
    assert evaluation.run(USER_IDS=[3, NO_KEYS_USER], MODEL_PATH=other(evaluation)) == 0
    for name in (AHEAD, IMM):
        first, second = json.loads(note(evaluation, name).read_bytes())["models"]
        assert first["path"].endswith("model.pth")
        assert second["path"] == other(evaluation)
        assert (first["users"], second["users"]) == ([1, 2], [3, NO_KEYS_USER])
    assert evaluation.run(USER_IDS=[2]) == 0
    assert evaluation.run(USER_IDS=[3], MODEL_PATH=other(evaluation)) == 0
    assert evaluation.run(USER_IDS=[2, 3], MODEL_PATH=other(evaluation)) == 2


def test_a_model_is_recognised_by_its_weights(evaluation: Evaluation) -> None:
    assert evaluation.run(USER_IDS=[1]) == 0
    moved = evaluation.root / "moved.pth"
    shutil.copyfile(evaluation.inputs / "model.pth", moved)
    assert evaluation.run(MODEL_PATH=str(moved)) == 0
    shutil.copyfile(evaluation.inputs / "other.pth", moved)
    assert evaluation.run(MODEL_PATH=str(moved)) == 2


def test_lines_without_raw_predictions_are_protected_from_another_model(evaluation: Evaluation) -> None:
    """Under RAW nobody is done after a run without; the metrics of the first model are there all the same."""
    assert evaluation.run(USER_IDS=[1]) == 0
    assert evaluation.run(USER_IDS=[1], RAW=True, MODEL_PATH=other(evaluation)) == 2
    assert evaluation.run(USER_IDS=[1], RAW=True) == 0


def test_noted_users_without_results_may_have_another_model(evaluation: Evaluation) -> None:
    """A run that was killed before it wrote anything binds nobody."""
    assert evaluation.run(USER_IDS=[1, 2]) == 0
    for name in (AHEAD, IMM):
        (evaluation.root / "result" / f"{name}.jsonl").unlink()
    assert evaluation.run(USER_IDS=[1, 2], MODEL_PATH=other(evaluation)) == 0


def test_results_without_a_note_are_kept(evaluation: Evaluation) -> None:
    assert evaluation.run(USER_IDS=[1]) == 0
    before = evaluation.files()
    note(evaluation, AHEAD).unlink()
    note(evaluation, IMM).unlink()
    assert evaluation.run(USER_IDS=[1, 2], MODEL_PATH=other(evaluation)) == 0
    assert all(evaluation.files()[name].startswith(content) for name, content in before.items())
    assert json.loads(note(evaluation, AHEAD).read_bytes())["models"][0]["users"] == [2]


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"models": [{"users": [1]}]}'])
def test_a_damaged_note_is_named(evaluation: Evaluation, capsys: pytest.CaptureFixture[str], damage: bytes) -> None:
    assert evaluation.run(USER_IDS=[1]) == 0
    note(evaluation, IMM).write_bytes(damage)
    capsys.readouterr()
    assert evaluation.run(USER_IDS=[1]) == 2
    assert_said(capsys, "note", f"{IMM}.model.json", "move the note away")


def test_the_means_are_printed(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all configured users, also of those who were done before, and of no others."""
    assert evaluation.run(USER_IDS=[1, 2, 5]) == 0
    capsys.readouterr()
    assert evaluation.run(USER_IDS=[2, 3, NO_KEYS_USER]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["LogLoss", "RMSE(bins)", "AUC"]
    results = {name: evaluation.lines("result", name) for name in (AHEAD, IMM)}
    sizes = [results[AHEAD][user]["size"] for user in (2, 3)]
    for rows, weights in ((printed[1:3], sizes), (printed[6:8], [1, 1])):
        for line, (name, lines) in zip(rows, results.items(), strict=True):
            expected = [
                np.average([lines[user]["metrics"][metric] for user in (2, 3)], weights=weights)
                for metric in ("LogLoss", "RMSE(bins)", "AUC")
            ]
            assert line.split()[0] == name
            np.testing.assert_allclose([float(cell) for cell in line.split()[1:]], expected, atol=5.1e-5)
    assert printed[3] == f"2 users, {sum(sizes):,} reviews, means weighted by reviews"
    assert printed[8] == f"2 users, {sum(sizes):,} reviews, means over users"
    assert sizes[0] != sizes[1]


def test_without_results_there_are_no_means(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation.run(USER_IDS=[NO_KEYS_USER]) == 0
    assert capsys.readouterr().out == "No user has reviews to predict, so there are no metrics.\n"
