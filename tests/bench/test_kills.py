"""bench.kills: a few kills of quick commands, and commands after whose kill something is wrong."""

import sys
from pathlib import Path

import pytest

from bench.kills import trials
from bench.kills.inputs import prepare
from bench.kills.subjects import SUBJECTS, Subject
from bench.kills.trials import Kill, Kind, Trial, Usual, attempt, plan, usual

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

SEED = 3
BY_NAME = {subject.name: subject for subject in SUBJECTS}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kills") / "given"
    prepare(root, users=12)
    return root


@pytest.mark.parametrize(
    ("name", "kinds"), [("keys", ["SIGKILL", "SIGTERM", "worker"]), ("import", ["SIGKILL"])], ids=["keys", "import"]
)
def test_nothing_is_lost(given: Path, tmp_path: Path, name: str, kinds: list[Kind]) -> None:
    subject = BY_NAME[name]
    expected = usual(subject, given, tmp_path)
    for kind, share in zip(kinds, (0.7, 0.8, 0.9), strict=False):
        assert attempt(subject, Kill(kind, share), expected, given, tmp_path).problems == []


def test_kills_of_all_kinds_are_spread_over_the_time() -> None:
    kills = list(plan(BY_NAME["keys"], 10, SEED))
    assert sorted(int(10 * kill.share) for kill in kills) == list(range(10))
    assert {kill.kind for kill in kills} == {"SIGKILL", "SIGTERM", "worker", "all"}
    assert {kill.kind for kill in plan(BY_NAME["save"], 10, SEED)} == {"SIGKILL", "SIGTERM"}


# --- What must be noticed

_BEGIN = "import pathlib, subprocess, sys, time; out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True); "
# Writes a file and waits to be killed; the second time it is done at once.
ONCE = "seen = (out / 'p.run').exists(); (out / 'p.run').write_text('{}'); time.sleep(0 if seen else 60)"


def tried(tmp_path: Path, program: str, results: dict[str, bytes]) -> Trial:
    """The trial of a program, killed after a second."""
    subject = Subject("program", lambda given, out: [sys.executable, "-c", _BEGIN + program, str(out)])
    return attempt(subject, Kill("SIGKILL", 1.0), Usual(1.0, results), tmp_path, tmp_path / "own")


def kinds(trial: Trial) -> list[str]:
    return [kind for kind, _ in trial.problems]


def test_a_sound_program_has_no_problem(tmp_path: Path) -> None:
    assert tried(tmp_path, ONCE, {"p.run": b"{}"}).problems == []


def test_other_results_are_noticed(tmp_path: Path) -> None:
    assert kinds(tried(tmp_path, ONCE, {"p.run": b"[]"})) == ["differing"]


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    program = ONCE.replace("time", "(out / 'a.json').write_text('{}' if seen else '{'); time")
    assert kinds(tried(tmp_path, program, {"p.run": b"{}", "a.json": b"{}"})) == ["lost"]


def test_a_run_that_cannot_go_on_is_noticed(tmp_path: Path) -> None:
    program = ONCE.replace("time", "1 / (not seen); time")
    assert kinds(tried(tmp_path, program, {"p.run": b"{}"})) == ["lost", "tracebacks"]


def test_a_process_that_is_left_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_ORPHANS_AFTER_S", 0.2)
    program = ONCE.replace("time", "seen or subprocess.Popen(['sleep', '60']); time")
    assert kinds(tried(tmp_path, program, {"p.run": b"{}"})) == ["orphans"]


def test_a_program_that_hangs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_LEAST_S", 1.5)
    monkeypatch.setattr(trials, "_SLOWER", 1)
    program = ONCE.replace("0 if seen else 60", "60")
    assert kinds(tried(tmp_path, program, {"p.run": b"{}"})) == ["hangs"]
