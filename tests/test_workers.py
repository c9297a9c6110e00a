"""Jobs in several processes: all results arrive, and the loss of a process is a sentence."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.errors import InputError, RwkvError
from rwkv.workers import LocalPool, runs_of

SIZES = st.lists(st.integers(1, 50), max_size=40)


@given(SIZES, st.integers(1, 9))
def test_runs_keep_the_order_and_none_is_much_larger(sizes: list[int], most: int) -> None:
    runs = runs_of(range(len(sizes)), sizes, most)
    assert [item for run in runs for item in run] == list(range(len(sizes)))
    assert all(runs)
    assert len(runs) <= most
    for run in runs:
        assert sum(sizes[item] for item in run) <= sum(sizes) / most + max(sizes)


def squares(items: Sequence[int], number: int) -> Iterator[tuple[int, int]]:
    for item in items:
        yield number, item * item


def fails_at_four(items: Sequence[int], number: int) -> Iterator[int]:
    for item in items:
        if item == 4:
            raise InputError("Four is too much.")
        yield item


def killed_at_four(items: Sequence[int], number: int) -> Iterator[int]:
    for item in items:
        if item == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def test_one_process_is_this_one() -> None:
    results = LocalPool(1).spread(squares, [1, 2, 3], [1, 1, 1])
    assert list(results) == [(0, 1), (0, 4), (0, 9)]


def test_several_processes_yield_the_results_of_all() -> None:
    results = LocalPool(2).spread(squares, [1, 2, 3, 4], [1, 1, 1, 1])
    assert sorted(results) == [(0, 1), (0, 4), (1, 9), (1, 16)]


def test_an_error_in_a_process_is_raised() -> None:
    with pytest.raises(InputError, match="Four is too much"):
        list(LocalPool(2).spread(fails_at_four, [1, 2, 3, 4], [1, 1, 1, 1]))


def fails_with_a_defect(items: Sequence[int], number: int) -> Iterator[int]:
    yield items[10]


def test_a_defect_in_a_process_is_not_called_a_lack_of_memory(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RwkvError, match="A worker process failed"):
        list(LocalPool(2).spread(fails_with_a_defect, [1, 2], [1, 1]))
    assert "IndexError" in capfd.readouterr().err


def test_a_killed_process_is_a_sentence() -> None:
    with pytest.raises(RwkvError, match="worker process was killed"):
        list(LocalPool(2).spread(killed_at_four, [1, 2, 3, 4], [1, 1, 1, 1]))


def root(user: int) -> float:
    if user < 0:
        raise InputError("No root.", where=str(user))
    return user**0.5


def test_a_job_for_every_user_in_several_processes() -> None:
    outcomes = {outcome.user: outcome for outcome in LocalPool(3).map(root, [*range(40), -1])}
    assert [outcomes[user].result for user in range(40)] == [user**0.5 for user in range(40)]
    assert len(outcomes) == 41
    assert str(outcomes[-1].error) == "No root.\n  where: -1"
    assert multiprocessing.active_children() == []


def killed_in_its_message(user: int) -> int:
    def send_a_part(stream: Any, message: memoryview) -> None:
        os.write(stream.fileno(), message[:2])
        os.kill(os.getpid(), signal.SIGKILL)

    if user == 2:
        Connection._send = send_a_part  # type: ignore[attr-defined]
    return user


def test_a_process_killed_in_the_midst_of_its_result_is_a_sentence() -> None:
    """A reader would wait for ever for the rest, if any other process could still write it."""
    with pytest.raises(RwkvError, match="worker process was killed"):
        list(LocalPool(2).map(killed_in_its_message, list(range(9))))


def holds_sigterm_back(user: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if user > 2:
        signal.pause()
    return user


def test_nothing_is_left_of_work_that_is_no_longer_wanted() -> None:
    """Python's end would wait for processes, and wake threads that may be about to end."""
    threads = set(threading.enumerate())
    outcomes = LocalPool(2).map(holds_sigterm_back, list(range(1, 9)))
    assert {next(outcomes).user, next(outcomes).user} == {1, 2}
    outcomes.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert set(threading.enumerate()) == threads


class OddError(Exception):
    """Cannot be pickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def fails(user: int) -> None:
    if user == 1:
        raise ConnectionResetError("the job's own")
    raise OddError(1, 2)


@pytest.mark.parametrize(
    ("users", "kind", "text"),
    [([1, 1], ConnectionResetError, "the job's own"), ([2, 2], RuntimeError, "OddError: 1 and 2")],
)
def test_an_error_of_a_job_is_not_called_a_lack_of_memory(users: list[int], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        list(LocalPool(2).map(fails, users))
    assert "in fails" in caught.value.__notes__[0], "the traceback of the worker"


def waits(items: Sequence[int], number: int) -> Iterator[int]:
    yield os.getpid()
    signal.pause()


PROGRAM = """
import os, signal
from rwkv.workers import LocalPool
from tests.test_workers import waits
if __name__ == "__main__":
    results = LocalPool(2).spread(waits, [1, 2], [1, 1])
    next(results), next(results)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_killed_command(tmp_path: Path) -> None:
    """They hold its output open as long as they live."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == b""
