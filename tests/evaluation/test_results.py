"""Result files keep every complete line through kills and bad input, and only finished users count as done."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import InputError
from rwkv.evaluation.metrics import recall_metrics
from rwkv.evaluation.results import ResultFiles, UserPredictions, user_lines

AHEAD, IMM = "RWKV-short-secs.v2", "RWKV-P-short-secs.v2"


def predictions(user: int, size: int = 3, model: int = 0) -> UserPredictions:
    """Predictions of a user that differ from user to user and from model to model."""
    rng = np.random.default_rng([user, model])
    p_all = rng.dirichlet(np.ones(4), size).astype(np.float32)
    return UserPredictions(
        user=user,
        review_th=np.arange(5, 5 + size, dtype=np.int32),
        y=np.arange(size, dtype=np.int8) % 2,
        bins=np.arange(size, dtype=np.int32) // 2,
        p_ahead=rng.random(size, np.float32),
        p_imm=1 - p_all[:, 0],
        p_all=p_all,
        label_elapsed_seconds=rng.integers(1, 2**40, size),
    )


def open_files(root: Path, raw: bool) -> ResultFiles:
    return ResultFiles(root / "result", root / "raw" if raw else None, AHEAD, IMM)


def paths(root: Path, raw: bool) -> list[Path]:
    """The paths of all files, in the order in which a new user's lines are written."""
    folders = ["raw", "result"] if raw else ["result"]
    return [root / folder / f"{name}.jsonl" for folder in folders for name in (AHEAD, IMM)]


def contents(root: Path, raw: bool) -> list[bytes]:
    return [path.read_bytes() if path.exists() else b"" for path in paths(root, raw)]


def restore(root: Path, raw: bool, wanted: list[bytes]) -> None:
    for path, content in zip(paths(root, raw), wanted, strict=True):
        path.write_bytes(content)


def write(root: Path, raw: bool, *users: int, model: int = 0) -> None:
    """Run the whole evaluation of these users."""
    files = open_files(root, raw)
    for user in users:
        files.append(user_lines(predictions(user, model=model), True))
    files.finish()


def users_in(path: Path) -> list[int]:
    return [json.loads(line)["user"] for line in path.read_bytes().splitlines()]


def lines_by_user(content: bytes) -> dict[int, bytes]:
    return {json.loads(line)["user"]: line for line in content.splitlines(keepends=True)}


BOTH_MODES = pytest.mark.parametrize("raw", [False, True], ids=["plain", "raw"])


def test_result_lines_are_as_the_benchmark_reads_them(tmp_path: Path) -> None:
    expected = predictions(7, size=4)
    files = open_files(tmp_path, raw=False)
    files.append(user_lines(expected, False))
    files.finish()
    assert not (tmp_path / "raw").exists()
    for path, p in zip(paths(tmp_path, raw=False), (expected.p_ahead, expected.p_imm), strict=True):
        metrics = recall_metrics(p, expected.y, expected.bins)
        assert path.read_text() == json.dumps({"metrics": metrics, "user": 7, "size": 4}) + "\n"


def test_a_missing_class_is_null(tmp_path: Path) -> None:
    files = open_files(tmp_path, raw=False)
    files.append(user_lines(replace(predictions(7), y=np.ones(3, np.int8)), False))
    assert '"AUC": null' in paths(tmp_path, raw=False)[0].read_text()


def test_raw_lines_hold_every_review(tmp_path: Path) -> None:
    expected = predictions(7)
    write(tmp_path, True, 7)
    ahead, imm = (json.loads(path.read_text()) for path in paths(tmp_path, raw=True)[:2])
    common = {"user": 7, "size": 3, "y": [0.0, 1.0, 0.0], "review_th": [5, 6, 7]}
    seconds = [[float(value)] for value in expected.label_elapsed_seconds]
    assert ahead == {**common, "p": expected.p_ahead.tolist()}
    assert imm == {
        **common,
        "p": expected.p_imm.tolist(),
        "label_elapsed_seconds": seconds,
        "p_all": expected.p_all.tolist(),
    }
    assert list(ahead) == ["user", "size", "p", "y", "review_th"]
    assert [type(value) for value in ahead["y"]] == [float] * 3
    np.testing.assert_array_equal(np.array(ahead["p"]).astype(np.float32), expected.p_ahead)


@BOTH_MODES
def test_files_end_sorted_with_one_line_a_user(tmp_path: Path, raw: bool) -> None:
    write(tmp_path, raw, 30, 4, 100)
    for path in paths(tmp_path, raw):
        assert users_in(path) == [4, 30, 100]
    assert open_files(tmp_path, raw).done() == {4, 30, 100}


@BOTH_MODES
def test_a_second_range_leaves_lines_as_they_are(tmp_path: Path, raw: bool) -> None:
    write(tmp_path, raw, 50, 60)
    before = contents(tmp_path, raw)
    write(tmp_path, raw, 55, 3, model=1)
    for old, new in zip(before, contents(tmp_path, raw), strict=True):
        ours = lines_by_user(new)
        assert list(ours) == [3, 50, 55, 60]
        assert old == ours[50] + ours[60]


def test_foreign_lines_keep_their_bytes(tmp_path: Path) -> None:
    foreign = b'{"user":2,  "metrics": {}, "more": "\xc3\xa4"}\r\n'
    write(tmp_path, False, 9)
    path = paths(tmp_path, raw=False)[0]
    path.write_bytes(path.read_bytes() + foreign)
    write(tmp_path, False, 5)
    assert path.read_bytes().startswith(foreign)
    assert users_in(path) == [2, 5, 9]


def killed(before: list[bytes], after: list[bytes]) -> Iterator[list[bytes]]:
    """The contents of the files after a kill at every appended byte, one file after the other."""
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new.startswith(old)
        for length in range(len(old), len(new) + (number == len(after) - 1)):
            yield [*after[:number], new[:length], *before[number + 1 :]]


@BOTH_MODES
def test_a_kill_at_any_byte_loses_nothing(tmp_path: Path, raw: bool) -> None:
    write(tmp_path, raw, 1, 8)
    before = contents(tmp_path, raw)
    open_files(tmp_path, raw).append(user_lines(predictions(5), True))
    after = contents(tmp_path, raw)
    for state in killed(before, after):
        restore(tmp_path, raw, state)
        files = open_files(tmp_path, raw)
        whole = all(len(new) - len(ours) <= 1 for new, ours in zip(after, state, strict=True))
        assert files.done() == ({1, 5, 8} if whole else {1, 8})
        for old, ours in zip(before, contents(tmp_path, raw), strict=True):
            assert ours.startswith(old)
            assert ours.endswith(b"\n")
            assert set(lines_by_user(ours)) <= {1, 5, 8}


@BOTH_MODES
def test_resumed_runs_end_as_if_never_killed(tmp_path: Path, raw: bool) -> None:
    write(tmp_path, raw, 1, 8)
    before = contents(tmp_path, raw)
    open_files(tmp_path, raw).append(user_lines(predictions(5), True))
    after = contents(tmp_path, raw)
    write(tmp_path, raw, 2)
    restore(tmp_path, raw, before)
    write(tmp_path, raw, 5, 2)
    finished = contents(tmp_path, raw)
    for state in list(killed(before, after))[::11]:
        restore(tmp_path, raw, state)
        files = open_files(tmp_path, raw)
        for user in sorted({2, 5} - files.done()):
            files.append(user_lines(predictions(user), True))
        files.finish()
        assert contents(tmp_path, raw) == finished


@BOTH_MODES
def test_a_kill_while_sorting_loses_nothing(tmp_path: Path, raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files(tmp_path, raw)
    files.append(user_lines(predictions(9), True))
    files.append(user_lines(predictions(2), True))
    before = contents(tmp_path, raw)

    def kill(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            files.finish()
    assert contents(tmp_path, raw) == before
    again = open_files(tmp_path, raw)
    assert again.done() == {2, 9}
    again.finish()
    assert [users_in(path) for path in paths(tmp_path, raw)] == [[2, 9]] * len(before)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(paths(tmp_path, raw))


def test_users_without_raw_are_not_done_under_raw_and_keep_their_results(tmp_path: Path) -> None:
    write(tmp_path, False, 1, 2)
    plain = contents(tmp_path, raw=False)
    files = open_files(tmp_path, raw=True)
    assert files.done() == set()
    assert contents(tmp_path, raw=False) == plain
    files.append(user_lines(predictions(2, model=1), True))
    assert files.done() == {2}
    files.finish()
    raw_ahead, raw_imm, ahead, imm = paths(tmp_path, raw=True)
    assert users_in(raw_ahead) == users_in(raw_imm) == [2]
    assert users_in(ahead) == users_in(imm) == [1, 2]
    assert open_files(tmp_path, raw=False).done() == {1, 2}


@pytest.mark.parametrize("present", range(15), ids=lambda bits: f"{bits:04b}")
def test_lines_of_unfinished_users_are_superseded(
    tmp_path: Path, present: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older line of the user in any of the files never makes the user count as done."""
    root, fresh = tmp_path / "killed", tmp_path / "fresh"
    write(root, True, 5)
    for number, path in enumerate(paths(root, raw=True)):
        if not present >> number & 1:
            path.write_bytes(b"")
    states: list[list[bytes]] = [contents(root, raw=True)]
    files = open_files(root, raw=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: states.append(contents(root, raw=True)))
        files.append(user_lines(predictions(5, model=1), True))
    files.finish()
    write(fresh, True, 5, model=1)
    assert contents(root, raw=True) == contents(fresh, raw=True)
    for number, state in enumerate(states):
        restore(root, True, state)
        assert open_files(root, raw=True).done() == ({5} if number == 4 else set())


@BOTH_MODES
def test_undamaged_files_are_not_changed(tmp_path: Path, raw: bool) -> None:
    write(tmp_path, raw, 1, 2)
    before = [path.stat() for path in paths(tmp_path, raw)]
    open_files(tmp_path, raw).finish()
    after = [path.stat() for path in paths(tmp_path, raw)]
    assert [(s.st_ino, s.st_mtime_ns) for s in after] == [(s.st_ino, s.st_mtime_ns) for s in before]


@pytest.mark.parametrize(
    "line",
    [b'{"metrics": {"RM\n', b"\n", b"[1]\n", b'{"size": 3}\n', b'{"user": true}\n', b'{"user": "5"}\n', b"\xff\xfe\n"],
)
def test_a_line_that_is_not_a_result_is_named_and_nothing_is_changed(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, False, 1, 2)
    ahead, imm = paths(tmp_path, raw=False)
    first, second = imm.read_bytes().splitlines(keepends=True)
    torn = ahead.read_bytes() + b'{"metr'
    restore(tmp_path, False, [torn, first + line + second])
    with pytest.raises(InputError) as caught:
        open_files(tmp_path, raw=False)
    assert f"{imm}, line 2" in str(caught.value)
    assert contents(tmp_path, raw=False) == [torn, first + line + second]


def test_a_folder_that_cannot_be_created_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("a file")
    with pytest.raises(InputError, match=str(tmp_path / "result")):
        open_files(tmp_path, raw=False)


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    files = open_files(tmp_path, raw=False)
    paths(tmp_path, raw=False)[0].mkdir()
    with pytest.raises(InputError, match="RWKV-short-secs"):
        files.append(user_lines(predictions(1), True))


def test_runs_without_users_leave_nothing(tmp_path: Path) -> None:
    files = open_files(tmp_path, raw=True)
    assert files.done() == set()
    files.finish()
    assert contents(tmp_path, raw=True) == [b""] * 4
