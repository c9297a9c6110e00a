"""The threads of the native kernels: a pool that survives forks, errors and callers at the same time."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from rwkv.native.curve import curve_recall
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
