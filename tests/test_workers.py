"""Jobs in several processes: all results arrive, and the loss of a process is a sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

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
