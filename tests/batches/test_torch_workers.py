"""What loading needs of PyTorch: its private names, and the signals of this process."""

import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
import torch
from torch.utils.data import _utils, dataloader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from rwkv.batches.loader import fetch
from rwkv.errors import RwkvError
from rwkv.stopping import Stopped, stoppable


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (dataloader, "_MultiProcessingDataLoaderIter"),
        (_MultiProcessingDataLoaderIter, "_try_get_data"),
        (_MultiProcessingDataLoaderIter, "_shutdown_workers"),
        (signal_handling, "_error_if_any_worker_fails"),
        (_utils, "signal_handling"),
    ],
)
def test_a_private_name_that_pytorch_has_changed_is_named(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    """Instead of all tests of this file failing in unlike ways."""
    assert list(fetch(abs, range(3), 1)) == [0, 1, 2], "this PyTorch has all names"
    monkeypatch.delattr(place, name)
    with pytest.raises(RwkvError, match="private name") as caught:
        list(fetch(abs, range(3), 1))
    assert name in caught.value.details["where"]
    assert caught.value.details["got"] == f"torch {torch.__version__}"
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN, None])
def test_the_handler_of_ended_processes_is_called_meanwhile_and_restored(before: signal.Handlers | None) -> None:
    ended: list[int] = []
    handler = before if before is not None else lambda number, frame: ended.append(number)
    original = signal.signal(signal.SIGCHLD, handler)
    try:
        results = fetch(abs, range(100), 1)
        next(results)
        signal.raise_signal(signal.SIGCHLD)
        assert bool(ended) == (before is None)
        inner = fetch(abs, range(3), 1)
        assert list(inner) == [0, 1, 2]
        assert next(results) == 1
        results.close()  # type: ignore[attr-defined]
        assert signal.getsignal(signal.SIGCHLD) == handler
    finally:
        signal.signal(signal.SIGCHLD, original)


def test_a_signal_while_workers_start_ends_them_all(monkeypatch: pytest.MonkeyPatch, unraisable: list[str]) -> None:
    """PyTorch could not end those that it has begun to start."""
    start = BaseProcess.start

    def start_and_stop(process: BaseProcess) -> None:
        start(process)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(BaseProcess, "start", start_and_stop)
    with stoppable(), pytest.raises(Stopped):
        next(fetch(abs, range(100), 2))
    assert multiprocessing.active_children() == []
    assert unraisable == []


def test_a_worker_killed_while_pytorch_starts_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own handler then raises its error in the midst of the start."""
    reset = _MultiProcessingDataLoaderIter._reset

    def reset_and_kill(self: Any, *args: Any, **named: Any) -> None:
        reset(self, *args, **named)
        self._workers[0].kill()
        time.sleep(30)  # the handler ends it at once

    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_reset", reset_and_kill)
    with pytest.raises(RwkvError, match="killed"):
        list(fetch(abs, range(3), 1))
