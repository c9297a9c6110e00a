"""bench.fuzz: a few cases of every kind of file, and what must be noticed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from bench.fuzz.__main__ import Tally, _count, _kind_of_end, _run_all, distinct
from bench.fuzz.batch import Cases
from bench.fuzz.damage import damaged
from bench.fuzz.subject import Subject, plain
from bench.fuzz.subjects import SUBJECTS
from rwkv.errors import InputError

SEED, CASES = "4", 8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_few_cases_are_read_right_or_refused(tmp_path: Path, name: str) -> None:
    cases = Cases(SUBJECTS[name], SEED, tmp_path)
    outcomes = [outcome for number in range(CASES) for outcome in cases.run(number)]
    assert [text for _, text in outcomes if text] == []
    assert {kind for kind, _ in outcomes} <= {"same", "other", "refused"}


def test_damage_is_never_nothing_and_depends_on_the_seed_only() -> None:
    data = bytes(range(256)) * 20
    copies = [damaged(data, Random(number)) for number in range(300)]
    assert all(copy != data for copy in copies)
    assert copies == [damaged(data, Random(number)) for number in range(300)]
    assert min(map(len, copies)) < len(data) < max(map(len, copies))


# --- What must be noticed


def a_subject(read: Callable[[Path], object], has_checksum: bool = False) -> Subject:
    """A file of one number, and what is done once it is damaged."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "a").write_bytes(b"12345678" * 20)

    def read_file(folder: Path) -> object:
        is_sound = (folder / "a").read_bytes() == b"12345678" * 20
        return 1 if is_sound else read(folder)

    return Subject("a", "a", make, read_file, lambda folder, rng: b"", has_checksum)


def fail(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize(
    ("read", "has_checksum", "expected"),
    [
        (lambda folder: 1, True, "same"),
        (lambda folder: 2, False, "other"),
        (lambda folder: 2, True, "silent"),
        (lambda folder: fail(InputError("Damaged.")), True, "refused"),
        (lambda folder: fail(InputError("x" * 30_000)), True, "endless"),
        (lambda folder: fail(ValueError("damaged")), True, "traceback"),
        (lambda folder: fail(SystemExit(1)), True, "traceback"),
    ],
)
def test_outcomes(
    tmp_path: Path,
    read: Callable[[Path], object],
    has_checksum: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.fuzz.batch._WILD_SHARE", 0.0)
    cases = Cases(a_subject(read, has_checksum), SEED, tmp_path)
    assert {kind for number in range(3) for kind, _ in cases.run(number)} == {expected}


@pytest.mark.parametrize(("code", "stderr", "kind"), [(-11, "", "crash"), (1, "Timeout (0:00:20)!\n", "hang")])
def test_the_end_of_a_process_belongs_to_its_last_case(code: int, stderr: str, kind: str) -> None:
    lines = [5, [["same", ""]], 6, [["traceback", "bad"]], 7]
    tally = Tally()
    assert _count(tally, json.loads(json.dumps(lines))) == 7
    tally.add(7, _kind_of_end(subprocess.CompletedProcess([], code, "", stderr)), "ended")
    assert tally.counts == {"same": 1, "traceback": 1, kind: 1}
    assert distinct(tally.findings) == [
        f"  1 {other}, first in case {number}: {text}"
        for number, other, text in ((6, "traceback", "bad"), (7, kind, "ended"))
    ]


@pytest.mark.parametrize("processes", [1, 3])
def test_any_number_of_processes_runs_each_case_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    """And shows its progress, without a terminal in lines."""

    def run(name: str, first: int, stop: int, seed: int) -> Tally:
        tally = Tally()
        for number in range(first, stop):
            tally.add(number, "crash" if number == 7 else "same", name if number == 7 else "")
        return tally

    monkeypatch.setattr("bench.fuzz.__main__.run_batch", run)
    monkeypatch.setattr("bench.fuzz.__main__._BATCH", 4)
    monkeypatch.setattr("rwkv.progress_bar._LINE_EVERY_S", 0)
    tallies = _run_all({"keys": 10, "pth": 5}, 1, processes)
    assert {name: tally.counts for name, tally in tallies.items()} == {
        "keys": {"same": 9, "crash": 1},
        "pth": {"same": 5},
    }
    assert tallies["keys"].findings == [(7, "crash", "keys")]
    assert "fuzz: 100%, 15 of 15" in capsys.readouterr().err


def test_values_of_the_same_bits_are_equal() -> None:
    assert plain([float("nan"), {"a": (1, 2)}]) == plain([float("nan"), {"a": [1, 2]}])
    assert plain(0.0) != plain(-0.0)
