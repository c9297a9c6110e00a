"""The threads of the native kernels: a pool that survives forks, errors and callers at the same time."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.native.curve import curve_recall
from rwkv.native.threads import available
from rwkv.ops.cpu.threads import native_threads, threads
from tests.ops.groups import needs_native

pytestmark = needs_native


def curve() -> list[float]:
    """Recall of rows in several blocks, by two threads."""
    grid = np.arange(1.0, 5.0)
    rows = np.linspace(-1, 1, 8 * 1000, dtype=np.float32).reshape(1000, 8)
    result: list[float] = curve_recall(rows, np.linspace(1, 9, 1000), grid, grid, 1e-5, 2).tolist()
    return result


def test_a_forked_process_has_threads_of_its_own() -> None:
    expected = curve()
    child = os.fork()
    if child == 0:
        os._exit(0 if curve() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


# A thread that never leaves the kernels for long.
ENDLESS = """
import threading, time
from tests.ops.cpu.test_threads import curve

def repeat():
    while True:
        curve()

threading.Thread(target=repeat, daemon=True).start()
time.sleep(0.2)
"""


def test_python_ends_while_another_thread_runs_the_kernels() -> None:
    repository = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", ENDLESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("stated", "count"), [("3", 3), (" 02 , 4", 2), ("9999", 9999)])
def test_the_environment_states_the_threads(stated: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert available.__wrapped__() == count


@pytest.mark.parametrize("stated", ["", "0", "-1", "two", "1" * 5000, "10000000000000000000"])
def test_other_values_in_the_environment_are_ignored(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    usual = available.__wrapped__()
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert available.__wrapped__() == usual


def test_callers_at_the_same_time_get_their_own_results() -> None:
    expected = curve()
    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(lambda _: curve(), range(200)))


def test_within_native_threads_pytorch_has_one() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with native_threads():
            assert (threads(), torch.get_num_threads()) == (3, 1)
            with native_threads():
                assert (threads(), torch.get_num_threads()) == (3, 1)
        assert (threads(), torch.get_num_threads()) == (3, 3)
        with pytest.raises(KeyError), native_threads():
            raise KeyError
        assert (threads(), torch.get_num_threads()) == (3, 3)
    finally:
        torch.set_num_threads(before)
