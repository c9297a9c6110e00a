"""A second command that would write to the same place is refused and changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.locks import only_writer_in, only_writer_of
from tests.benchmark.evaluation import AHEAD, IMM, Evaluation
from tests.benchmark.training import Training
from tests.benchmark.workspace import Workspace, add_users, assert_said


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_refused(run: Callable[[], int], root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """The command, run while its place is held, says so and leaves all files below `root` as they are."""
    before = contents(root)
    assert run() == 2
    assert_said(capsys, "error: Another command is writing here: process", "next: wait until it ends", *words)
    assert contents(root) == before


@pytest.mark.parametrize("command", ["import", "simulate", "demo"])
def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    out = tmp_path / "out"
    (tmp_path / "some.csv").write_text("card_id,review_time,review_rating\n1,1700000000000,3\n")
    arguments = {
        "import": ["import", str(tmp_path / "some.csv")],
        "simulate": ["simulate", "--users", "1", "--reviews", "20"],
        "demo": ["demo"],
    }[command]
    with only_writer_in(out, ""):
        assert_refused(lambda: main([*arguments, "--out", str(out)]), out, capsys, str(out), "another folder")


def test_databases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    add_users(workspace.dataset, [1])
    with only_writer_in(tmp_path / "keys_db", ""):
        assert_refused(workspace.find_keys, tmp_path / "keys_db", capsys, "LABEL_FILTER_LMDB_PATH")
    assert workspace.find_keys() == 0
    with only_writer_in(tmp_path / "store_db", ""):
        assert_refused(workspace.process_data, tmp_path / "store_db", capsys, "another LMDB_PATH")
    assert workspace.process_data() == 0


def test_runs(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    with only_writer_of(training.out / "p", ""):
        assert_refused(training.run, training.out, capsys, "another SAVE_MODEL_PREFIX")


@pytest.mark.parametrize("place", [f"result/{AHEAD}", f"result/{IMM}", f"raw/{AHEAD}", f"raw/{IMM}", "weights_db"])
def test_result_files(evaluation: Evaluation, capsys: pytest.CaptureFixture[str], place: str) -> None:
    path = evaluation.root / place
    with only_writer_in(path, "") if place == "weights_db" else only_writer_of(path, ""):
        assert_refused(lambda: evaluation.run(RAW=True), evaluation.root / place.split("/")[0], capsys, str(path))
