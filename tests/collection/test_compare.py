"""`rwkv compare` from folders of histories to tables, JSON and result files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv import cli
from rwkv.collection.chosen_model import choose_model
from rwkv.collection.compare import ComparedFolders, compare_folders
from rwkv.collection.compare_users import compare_users
from rwkv.command_line.compare_table import format_comparison
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.evaluation.metrics import METRICS, recall_metrics
from rwkv.evaluation.scores import Score, read_scores, write_scores
from tests.benchmark.evaluation import AHEAD, IMM, Evaluation
from tests.benchmark.workspace import Workspace, assert_said, studied
from tests.collection.several_people import NO_KEYS_USER, USERS, make_people, run
from tests.helpers import write_history
from tests.typed import not_none

ALGORITHMS = ["AVG", "MOVING-AVG", "FSRS-6-default", "FSRS-6", "RWKV", "RWKV-P"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_people(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def compared(root: Path) -> ComparedFolders:
    """All users, written to root/written."""
    return compare_folders([root / "dataset"], model=root / "model.pth", write=root / "written")


# --- What is compared


def test_all_algorithms_predict_the_same_keys(root: Path, compared: ComparedFolders) -> None:
    assert list(compared.users) == ["1", "2", "3"]
    assert list(compared.without) == [str(NO_KEYS_USER)]
    for comparison in compared.users.values():
        table = read_history(root / "dataset", comparison.user)
        keys = benchmark_keys(table, short=False, secs=False)
        assert list(comparison.p) == ALGORITHMS
        assert all(len(p) == len(comparison) == len(keys) > 50 for p in comparison.p.values())
        assert all(np.all((p > 0) & (p <= 1)) for p in comparison.p.values())
        np.testing.assert_array_equal(comparison.review_th, keys.review_ths)
        np.testing.assert_array_equal(comparison.y, table.rating[keys.review_ths - 1] > 1)
    assert compared.left_out == 0


def test_rwkv_has_the_metrics_of_get_result(root: Path, compared: ComparedFolders, tmp_path: Path) -> None:
    """By way of keys, store and batches of several users."""
    inputs = tmp_path / "inputs"
    shutil.copytree(root, inputs)
    workspace = Workspace(inputs)
    assert workspace.find_keys() == 0
    assert workspace.process_data() == 0
    evaluation = Evaluation(inputs, tmp_path)
    assert evaluation.run() == 0
    for name in (AHEAD, IMM):
        theirs, ours = evaluation.lines("result", name), read_scores(root / "written" / f"{name}.jsonl")
        assert list(ours) == list(theirs) == list(USERS)
        for user, score in ours.items():
            assert score.size == theirs[user]["size"]
            # Rows in a batch of another size: float32 sums in another order, and rounding to six places.
            assert score.metrics == pytest.approx(theirs[user]["metrics"], abs=5e-6)


def test_a_key_without_an_earlier_review_is_left_out_for_all_algorithms(root: Path, tmp_path: Path) -> None:
    """The only review of a card whose beginning is missing, with an interval that is common after one review."""
    revlog = {name: np.array(column) for name, column in studied(7).items()}
    row = len(revlog["card_id"]) - 5
    for name, value in {"card_id": 9999, "rating": 3, "elapsed_days": 1, "elapsed_seconds": 86_400}.items():
        revlog[name][row] = value
    write_history(tmp_path, 7, revlog)
    keys = benchmark_keys(read_history(tmp_path, 7), short=False, secs=False)
    assert row + 1 in keys.review_ths
    result = compare_users(tmp_path, [7], choose_model(root / "model.pth").runner)
    assert result.left_out == 1
    np.testing.assert_array_equal(result.users[0].review_th, keys.review_ths[keys.review_ths != row + 1])
    assert all(np.isfinite(p).all() and len(p) == len(keys) - 1 for p in result.users[0].p.values())


def test_only_the_chosen_users_are_compared(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--users", "2-3,4,77", "--json") == 0
    out, err = capsys.readouterr()
    fields = json.loads(out)
    assert list(fields["users"]) == ["2", "3"]
    assert "1 of 3 reviews is on a later day" in fields["without"]["4"]
    assert "on a later day" not in err  # the answer has the reason
    assert "has no user 77" in err


def test_several_folders(root: Path, compared: ComparedFolders, tmp_path: Path) -> None:
    shutil.copytree(root / "dataset", tmp_path / "again")
    folders = [root / "dataset", tmp_path / "again"]
    both = compare_folders(folders, users=[1], model=root / "model.pth")
    assert list(both.users) == [f"{folder}: 1" for folder in folders]
    alone = format_comparison(compare_folders(folders[:1], users=[1], model=root / "model.pth"))
    assert "reviews of 1 user" in alone
    assert "beside means" not in alone  # a single user has none
    assert both.scores["AVG"][f"{folders[0]}: 1"] == both.scores["AVG"][f"{folders[1]}: 1"]


# --- What is said


def test_tables(compared: ComparedFolders) -> None:
    text = format_comparison(compared)
    assert f"{sum(map(len, compared.users.values())):,} reviews of 3 users" in text
    assert "no ± beside means: they need at least 8 users" in text
    weighted = text.split("weighted by reviews")[1].split("\n\n")[0].splitlines()[1:]
    assert [line.split()[0] for line in weighted] == ALGORITHMS
    sizes = [len(comparison) for comparison in compared.users.values()]
    for line, name in zip(weighted, ALGORITHMS, strict=True):
        metrics = [
            recall_metrics(comparison.p[name], comparison.y, comparison.bins) for comparison in compared.users.values()
        ]
        expected = [
            np.average([metric[key] for metric in metrics], weights=sizes) for key in ("LogLoss", "RMSE(bins)", "AUC")
        ]
        np.testing.assert_allclose([float(cell) for cell in line.split()[1:]], expected, atol=5.1e-5)
    of_user = text.split("user 2 ")[1].split("\n\n")[0].splitlines()[-1].split()
    log_loss = compared.estimates["2"]["RWKV-P"]["LogLoss"]
    assert of_user[:3] == ["RWKV-P", f"{log_loss.value:.4f}", f"±{log_loss.half_width:.4f}"]
    assert "too few users, 3" in text
    assert "superiority" in text


def test_json_has_the_same_figures(compared: ComparedFolders, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--json", "--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    fields = json.loads(out)
    assert fields["notice"] is None
    assert fields["confidence"] == 0.99
    for label, comparison in compared.users.items():
        assert fields["users"][label]["size"] == len(comparison)
        assert list(fields["users"][label]["metrics"]) == ALGORITHMS
        for name, p in comparison.p.items():
            metrics = fields["users"][label]["metrics"][name]
            assert {metric: metrics[metric]["value"] for metric in METRICS} == recall_metrics(
                p, comparison.y, comparison.bins
            )
            assert all(metrics[metric]["half_width"] > 0 for metric in METRICS)
    assert fields["superiority"]["AVG"]["RWKV"] + fields["superiority"]["RWKV"]["AVG"] == pytest.approx(1)
    assert fields["signed_ranks"]["AVG"]["RWKV"] == {"n": 3, "p": None, "effect": None}
    assert set(fields["weighted"]) == set(fields["unweighted"]) == set(ALGORITHMS)


def test_several_users_have_a_line_each(compared: ComparedFolders) -> None:
    """Reviews and LogLoss by every algorithm, with the lowest marked."""
    head, *lines = format_comparison(compared).split("LogLoss by user")[1].split("\n\n")[0].splitlines()
    assert head.split() == ["reviews", *ALGORITHMS]
    assert lines.pop() == "* the lowest of its line"
    assert lines.pop().split() == [str(NO_KEYS_USER), "0", *compared.without[str(NO_KEYS_USER)].split()]
    for line, (label, comparison) in zip(lines, compared.users.items(), strict=True):
        metrics = [recall_metrics(comparison.p[name], comparison.y, comparison.bins) for name in ALGORITHMS]
        losses = [not_none(one["LogLoss"]) for one in metrics]
        cells = [f"{'*' if loss == min(losses) else ''}{loss:.4f}" for loss in losses]
        assert line.split() == [label, str(len(comparison)), *cells]


def test_many_users_are_listed_line_by_line(compared: ComparedFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwkv.command_line.compare_table._MOST_USERS", 2)
    text = format_comparison(compared)
    assert "user 2 " not in text
    assert [line.split()[0] for line in text.split("LogLoss by user")[1].splitlines()[1:4]] == ["1", "2", "3"]
    monkeypatch.setattr("rwkv.command_line.compare_table._MOST_LINES", 1)
    assert "... and 2 more. Use --json for all." in format_comparison(compared)


def test_one_user_has_no_means(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--users", "3", "--quiet") == 0
    text = capsys.readouterr().out
    assert "reviews of 1 user, no same-day reviews" in text
    assert "user 3" in text
    assert "weighted" not in text
    assert "superiority" not in text


# --- Result files


def test_written_files_have_the_benchmarks_format(root: Path, compared: ComparedFolders) -> None:
    for name in ALGORITHMS:
        lines = [json.loads(line) for line in (root / "written" / f"{name}.jsonl").read_text().splitlines()]
        for line, comparison in zip(lines, compared.users.values(), strict=True):
            assert line == {
                "metrics": recall_metrics(comparison.p[name], comparison.y, comparison.bins),
                "user": comparison.user,
                "size": len(comparison),
            }
    noted = {path.name for path in (root / "written").glob("*.json")}
    assert noted == {"RWKV.model.json", "RWKV-P.model.json"}


def test_the_folder_of_written_files_is_named(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--users", "3", "--write", str(tmp_path / "new"), "--quiet") == 0
    assert f"\nresult files written to {tmp_path / 'new'}\n" in capsys.readouterr().out
    assert (tmp_path / "new" / "RWKV.jsonl").is_file()


def test_other_algorithms_come_from_files(
    root: Path, compared: ComparedFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores(log_loss: float, size: int) -> Score:
        return Score({"RMSE": 0.1, "LogLoss": log_loss, "RMSE(bins)": 0.01, "AUC": 0.9}, size)

    sizes = {comparison.user: len(comparison) for comparison in compared.users.values()}
    write_scores(tmp_path, "LSTM", {1: scores(0.001, sizes[1]), 3: scores(9, sizes[3] + 1), 99: scores(9, 1)})
    write_scores(tmp_path, "AVG", {user: scores(0.5, size) for user, size in sizes.items()})
    write_scores(tmp_path, "GRU", {99: scores(9, 1)})
    assert run(root, "--results", str(tmp_path), "--json") == 0
    out, err = capsys.readouterr()
    assert "GRU.jsonl is ignored" in err
    assert f"LSTM.jsonl: user 3 has {sizes[3] + 1} reviews, not {sizes[3]}" in err
    fields: dict[str, Any] = json.loads(out)
    assert fields["counted"] == ["1", "3"]
    assert list(fields["weighted"]) == [*ALGORITHMS, "AVG (file)", "LSTM"]
    assert fields["unweighted"]["LSTM"]["LogLoss"]["value"] == pytest.approx((0.001 + 9) / 2)
    assert fields["superiority"]["LSTM"]["RWKV"] == 0.5
    assert fields["users"]["1"]["metrics"]["LSTM"]["AUC"] == {"value": 0.9, "half_width": None}
    assert "LSTM" not in fields["users"]["2"]["metrics"]


@pytest.mark.parametrize("option", ["--results", "--write"])
def test_users_of_one_number_cannot_share_files(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    write_scores(tmp_path / "files", "X", {1: Score({"LogLoss": 0.1}, 5)})
    shutil.copytree(root / "dataset", tmp_path / "again")
    folders = [str(root / "dataset"), str(tmp_path / "again")]
    assert cli.main(["compare", *folders, option, str(tmp_path / "files")]) == 2
    assert_said(capsys, "share", "user 1", str(tmp_path / "again"))


def test_a_folder_without_result_files_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "--results", str(tmp_path)) == 2
    assert_said(capsys, "no result files", str(tmp_path))
