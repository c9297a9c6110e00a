"""`rwkv simulate --check`: a dataset's learners are compared with people, and invalid arguments are refused."""

import json
import re
from pathlib import Path

import pytest

from rwkv.benchmark.simulate import simulate
from rwkv.cli import main
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.evaluation.realism import fit
from rwkv.evaluation.realism.rungs import RUNGS
from rwkv.evaluation.scores import Score, write_scores

USERS = 4


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are tested in tests/evaluation; here it is enough that they run."""
    monkeypatch.setattr(fit, "_FIRST_STEPS", 2)
    monkeypatch.setattr(fit, "_LATER_STEPS", 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("check") / "dataset"
    assert simulate(USERS, 250, 4, root) == 0
    return root


def test_a_dataset_is_checked(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--check", "--out", str(dataset), "--quiet"]) == 0
    output = capsys.readouterr().out
    for part in ("simulated learners", "AVG LogLoss", "FSRS-5 default AUC", "state review", "MOVING-AVG", "within 5%"):
        assert part in output
    assert re.search(r"too few learners for quantiles: \d+; simulate at least 100\n", output)


def test_progress_advances_after_each_algorithm(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("tqdm.tqdm.update", lambda bar, count: seen.append(count))
    assert main(["simulate", "--check", "--out", str(dataset)]) == 0
    assert seen == [USERS] * len(RUNGS)


def test_results_of_models_are_compared(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON; the dataset is simulated in the same call, and is the same."""
    arguments = ["--users", str(USERS), "--reviews", "250", "--seed", "4", "--out", str(dataset), "--check", "--json"]
    assert main(["simulate", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    average = result["figures"]["AVG LogLoss"]
    assert average["people"]["mean"] == 0.3945
    assert len(average["simulated"]["quantiles"]) == len(result["percentiles"]) == len(average["off"]) == 5
    assert result["learners"] + result["without"] == USERS
    assert "RWKV" not in result["ratios"]

    tables = {user: read_history(dataset, user) for user in range(1, USERS + 1)}
    sizes = {user: len(benchmark_keys(table, short=False, secs=False)) for user, table in tables.items()}
    assert sum(size > 0 for size in sizes.values()) == result["learners"]
    write_scores(tmp_path, "mine", {user: Score({"LogLoss": 0.25}, size) for user, size in sizes.items() if size})
    assert main(["simulate", *arguments, "--rwkv-p", str(tmp_path / "mine.jsonl")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ratios"]["RWKV-P"]["simulated"] == pytest.approx(0.25 / average["simulated"]["mean"])

    counted = next(user for user, size in sizes.items() if size)
    write_scores(tmp_path, "mine", {counted: Score({"LogLoss": 0.3}, 7)})
    assert main(["simulate", *arguments, "--rwkv", str(tmp_path / "mine.jsonl")]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "does not match the reviews" in error["what"]
    assert "7 reviews" in error["got"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--check",), ("no dataset", "rwkv simulate")),
        (("--rwkv", "x.jsonl", "--users", "2", "--reviews", "20"), ("--check",)),
        (("--check", "--rwkv", "nowhere.jsonl", "--users", "2", "--reviews", "20"), ("nowhere.jsonl",)),
        (("--check", "--users", "1", "--reviews", "2"), ("counts no review", "more reviews")),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--out", str(tmp_path / "out"), *arguments]) == 2
    output = capsys.readouterr().err
    for word in words:
        assert word in output
