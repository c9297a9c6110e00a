"""Evaluations in several runs: no result is lost or computed twice, and the files equal those of one run."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

import rwkv.benchmark.evaluate_groups
import rwkv.evaluation.recorded
from rwkv.batches.sliced import PlainSlices, SlicedBatch
from rwkv.evaluation.history_predictions import Targets
from rwkv.evaluation.results import UserPredictions
from rwkv.model.network import Network
from tests.benchmark.evaluation import AHEAD, IMM, NO_KEYS_USER, ROWS_TOGETHER, USERS, Evaluation
from tests.benchmark.workspace import assert_said

LINES = {folder: [f"{folder}/{name}.jsonl" for name in (AHEAD, IMM)] for folder in ("raw", "result")}


def lines_of(files: dict[str, bytes], name: str) -> list[bytes]:
    return files[name].splitlines(keepends=True)


def test_a_larger_range_keeps_finished_users(evaluation: Evaluation, plain: dict[str, bytes]) -> None:
    """The users who are left are predicted as in an undisturbed run, whoever else of their batch is done."""
    assert evaluation.run(USER_IDS=[1, 5], MODEL_PATH=str(evaluation.inputs / "other.pth")) == 0
    before = evaluation.files()
    # As files from before the models were noted, which tells their lines apart from ours.
    for name in (AHEAD, IMM):
        (evaluation.root / "result" / f"{name}.model.json").unlink()
    assert evaluation.run() == 0
    for name, whole in plain.items():
        of_1, of_5 = lines_of(before, name)
        _, of_2, of_3, _ = whole.splitlines(keepends=True)
        assert lines_of(evaluation.files(), name) == [of_1, of_2, of_3, of_5]
        assert of_1 not in whole


def test_another_range_with_another_model_appends(evaluation: Evaluation, plain: dict[str, bytes]) -> None:
    """As the published evaluation does with the two halves of the dataset."""
    assert evaluation.run(USER_START=3, USER_END=5) == 0
    half = evaluation.files()
    assert evaluation.run(USER_START=1, USER_END=2, MODEL_PATH=str(evaluation.inputs / "other.pth")) == 0
    for name, content in evaluation.files().items():
        assert content.endswith(half[name])
        assert len(content.splitlines()) == len(USERS)
        assert content != plain[name]


def test_a_finished_evaluation_runs_no_network(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor for the user without keys, who is never done."""
    assert evaluation.run(RAW=True) == 0
    before, weights = evaluation.files(), evaluation.weights()
    monkeypatch.setattr(rwkv.evaluation.recorded, "last_rows", None)
    capsys.readouterr()
    assert evaluation.run(RAW=True) == 0
    assert_said(capsys, "5 users, 4 of them done before", f"user {NO_KEYS_USER} has no reviews to predict")
    assert evaluation.files() == before
    assert evaluation.weights() == weights


@pytest.mark.parametrize("name", [*LINES["raw"], *LINES["result"]])
def test_a_user_is_done_only_when_in_every_file(evaluation: Evaluation, name: str) -> None:
    assert evaluation.run(RAW=True) == 0
    whole = evaluation.files()
    lines = lines_of(whole, name)
    (evaluation.root / name).write_bytes(b"".join([lines[0], *lines[2:]]))
    assert evaluation.run(RAW=True) == 0
    assert evaluation.files() == whole


def test_raw_predicts_all_users_again(evaluation: Evaluation, plain: dict[str, bytes]) -> None:
    assert evaluation.run() == 0
    assert evaluation.run(RAW=True) == 0
    files = evaluation.files()
    assert {name: files[name] for name in plain} == plain
    assert list(evaluation.lines("raw", IMM)) == list(USERS)


@pytest.fixture
def undisturbed(inputs: Path, tmp_path: Path) -> Evaluation:
    """A run under RAW of which nobody stopped anything."""
    whole = Evaluation(inputs, tmp_path / "whole")
    whole.root.mkdir()
    assert whole.run(RAW=True) == 0
    return whole


# Of the four lines of each user: after the first of user 1, and in the middle of user 3, in a second batch.
@pytest.mark.parametrize("line", [1, 10])
def test_a_killed_run_continues(evaluation: Evaluation, undisturbed: Evaluation, line: int) -> None:
    code, _ = evaluation.ended_by("SIGKILL", line, RAW=True)
    assert code == -signal.SIGKILL
    before = evaluation.files()
    assert sum(len(content.splitlines()) for content in before.values()) == line
    assert evaluation.run(RAW=True) == 0
    assert evaluation.files() == undisturbed.files()
    assert evaluation.weights() == undisturbed.weights()
    for name, content in before.items():
        assert evaluation.files()[name].startswith(content)


def test_ctrl_c_keeps_results_and_says_what_to_do(evaluation: Evaluation, undisturbed: Evaluation) -> None:
    code, output = evaluation.ended_by("SIGINT", 6, RAW=True)
    assert code == 130
    assert "interrupted; files already written are kept" in output
    assert "Traceback" not in output
    assert evaluation.run(RAW=True) == 0
    assert evaluation.files() == undisturbed.files()


def test_batches_depend_on_the_range_alone(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is done, the same users lie in the same batch, and the heads are asked for the same ones.

    What they say of one depends on how many others there are, by a rounding.
    """
    seen: list[int] = []
    heads_seen: list[list[int]] = []
    last_rows, predict_users = rwkv.evaluation.recorded.last_rows, rwkv.benchmark.evaluate_groups.predict_users

    def spy(network: Network, batch: SlicedBatch) -> Tensor:
        assert isinstance(batch, PlainSlices)
        seen.append(len(batch))
        return last_rows(network, batch)

    def heads_spy(network: Network, x: Tensor, targets: Sequence[Targets]) -> list[UserPredictions]:
        heads_seen.append([one.user for one in targets])
        return predict_users(network, x, targets)

    monkeypatch.setattr(rwkv.evaluation.recorded, "last_rows", spy)
    monkeypatch.setattr(rwkv.benchmark.evaluate_groups, "predict_users", heads_spy)
    assert evaluation.run(FILE_AHEAD="one", FILE_IMM="one-P") == 0
    fresh = seen.copy()
    assert len(fresh) == 3
    assert heads_seen == [[1, 2], [3], [5]]
    assert max(fresh) <= ROWS_TOGETHER
    for name in ("one", "one-P"):
        path = evaluation.root / "result" / f"{name}.jsonl"
        _, of_2, _, of_5 = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(of_2 + of_5)
    seen.clear()
    heads_seen.clear()
    assert evaluation.run(FILE_AHEAD="one", FILE_IMM="one-P") == 0
    assert seen == fresh[:2]
    assert heads_seen == [[1, 2], [3]]
