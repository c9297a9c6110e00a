"""Workers of the loader that are killed: an error that says what to do, and no traceback."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Client
from multiprocessing.process import BaseProcess, current_process
from multiprocessing.queues import Queue
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from rwkv.batches.loader import fetch
from rwkv.errors import RwkvError
from rwkv.stopping import Stopped, stoppable
from tests.benchmark.workspace import REPOSITORY


def _die(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    results = fetch(_die, range(5), 1)
    with pytest.raises(RwkvError, match=r"A worker process was killed(.|\n)*NUM_FETCH_PROCESSES"):
        list(results)


def _process(item: int) -> int:
    return os.getpid()


def _kill(worker: int) -> None:
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.5)  # the system tells of its end meanwhile


def test_a_worker_killed_while_a_result_is_used_is_an_error_at_the_next() -> None:
    results = fetch(_process, range(100), 1)
    _kill(next(results))
    with pytest.raises(RwkvError, match="A worker process was killed"):
        next(results)


def test_a_killed_worker_is_not_missed_when_its_results_are_no_longer_wanted(unraisable: list[str]) -> None:
    results = fetch(_process, range(100), 2)
    _kill(next(results))
    del results
    assert unraisable == []


def test_workers_end_although_one_is_killed_before_they_are_told(
    monkeypatch: pytest.MonkeyPatch, unraisable: list[str]
) -> None:
    """Also where they hold SIGTERM back, as in commands."""
    tell = _MultiProcessingDataLoaderIter._mark_worker_as_unavailable

    def kill_and_tell(results: Any, number: int, shutdown: bool = False) -> None:
        _kill(results._workers[number].pid)
        tell(results, number, shutdown)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_mark_worker_as_unavailable", kill_and_tell)
    with stoppable():
        results = fetch(_process, range(100), 2)
        next(results)
        del results
    assert multiprocessing.active_children() == []
    assert unraisable == []


class _Killer:
    """Kills a process when it is deleted."""

    def __init__(self, worker: int) -> None:
        self._worker = worker

    def __del__(self) -> None:
        _kill(self._worker)


def test_a_worker_killed_while_an_object_is_deleted_is_an_error_all_the_same(
    monkeypatch: pytest.MonkeyPatch, unraisable: list[str]
) -> None:
    """Python prints an error of a deletion, and goes on."""
    killers: list[_Killer] = []
    get = Queue.get

    def delete_and_get(*given: Any, **named: Any) -> Any:
        killers.clear()
        return get(*given, **named)

    results = fetch(_process, range(100), 1)
    killers.append(_Killer(next(results)))
    monkeypatch.setattr(Queue, "get", delete_and_get)
    with pytest.raises(RwkvError, match="A worker process was killed"):
        list(results)
    assert unraisable == []


def test_a_killed_worker_interrupts_only_waiting() -> None:
    """Other code may print errors that it does not expect, and go on."""
    uninterrupted: list[int] = []

    def items() -> Iterator[int]:
        yield from range(3)
        _kill(worker)
        uninterrupted.append(worker)
        yield from range(100)

    results = fetch(_process, items(), 1)
    worker = next(results)
    with pytest.raises(RwkvError, match="A worker process was killed"):
        list(results)
    assert uninterrupted == [worker]


def _ones_of(item: int) -> tuple[int, Tensor]:
    return os.getpid(), torch.ones(10)


def test_a_worker_killed_before_it_hands_its_tensors_over(
    monkeypatch: pytest.MonkeyPatch, unraisable: list[str]
) -> None:
    """The system tells of its end while the workers are ended, a few milliseconds after its connections end."""
    results = fetch(_ones_of, range(100), 1)
    worker, _ = next(results)
    time.sleep(0.5)  # until others wait
    handler = signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def join_and_tell(process: BaseProcess, timeout: float | None = None) -> None:
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        signal.signal(signal.SIGCHLD, handler)
        signal.raise_signal(signal.SIGCHLD)

    os.kill(worker, signal.SIGKILL)
    monkeypatch.setattr(BaseProcess, "join", join_and_tell)
    with pytest.raises(RwkvError, match=r"A worker process was killed(.|\n)*NUM_FETCH_PROCESSES"):
        list(results)
    assert unraisable == []


def test_a_command_that_ends_while_it_takes_a_tensor_is_no_traceback_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker still lives for a few milliseconds after its connection has ended."""

    def connect_and_end(handle: tuple[str, int]) -> None:
        Client(handle[0], authkey=current_process().authkey).close()
        time.sleep(0.5)
        raise Stopped(signal.SIGTERM)

    results = fetch(_ones_of, range(100), 1)
    sharer = "multiprocessing.resource_sharer._ResourceSharer"
    monkeypatch.setattr(f"{sharer}.get_connection", staticmethod(connect_and_end))
    with pytest.raises(Stopped):
        next(results)
    assert capfd.readouterr().err == ""


_PARENT_KILLED = """
import os, signal
from rwkv.batches.loader import fetch
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGKILL))
next(fetch(abs, [1, 2, 3], 1))
"""


def test_a_worker_ends_if_its_parent_was_killed_while_starting_it() -> None:
    """It holds the output open as long as it lives."""
    command = [sys.executable, "-c", _PARENT_KILLED]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
