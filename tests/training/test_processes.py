"""What a process of a training does alone, and as one of several."""

import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from rwkv.errors import ConfigError, InputError, RwkvError
from rwkv.model.checkpoint import weights_fingerprint
from rwkv.model.network import new_network
from rwkv.stopping import Stopped, leave
from rwkv.training.processes import Processes, training_processes
from rwkv.training.stop import Stop
from rwkv.training.watch import Watch
from tests.benchmark.workspace import REPOSITORY


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Process 6 of 8, on the second of two machines."""
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    return Processes(6, 8)


def test_one_process_works_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with training_processes() as processes:
        assert processes.is_first
        assert processes.device("cuda:1") == "cuda:1"
        assert processes.workers(0) == 0
        assert processes.part([1, 2, 3]) == [1, 2, 3]
        assert processes.from_first(lambda: "made") == "made"
        assert processes.added([1.0, 2.0]) == [1.0, 2.0]
        processes.check_agreement("any")


def test_each_process_takes_a_gpu_of_its_machine(third: Processes) -> None:
    assert [third.device(name) for name in ("cpu", "cuda")] == ["cpu", "cuda:2"]
    with pytest.raises(ConfigError, match="cuda:2"):
        third.device("cuda:2")


def test_workers_of_a_machine_are_divided(third: Processes) -> None:
    assert [third.workers(count) for count in (0, 3, 4, 11)] == [1, 1, 1, 2]


def test_every_item_belongs_to_one_process() -> None:
    items = list(range(19))
    parts = [Processes(rank, 8).part(items) for rank in range(8)]
    assert sorted(item for part in parts for item in part) == items
    assert {len(part) for part in parts} == {2, 3}


@pytest.mark.parametrize("settings", [["a"] * 8, ["a", "a", "b", "a", "a", "a", "a", "c"]])
def test_processes_with_other_settings_are_named(
    third: Processes, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    digests: list[bytes] = []
    monkeypatch.setattr(dist, "all_gather_object", lambda _, digest: digests.append(digest))
    for each in settings:
        third.check_agreement(each)
    gather: Callable[[list[bytes], bytes], None] = lambda box, _: box.__setitem__(slice(None), digests)  # noqa: E731
    monkeypatch.setattr(dist, "all_gather_object", gather)
    if len(set(settings)) == 1:
        third.check_agreement("a")
        return
    with pytest.raises(InputError, match="process 2, 7 than in process 0"):
        third.check_agreement("a")


class Store:
    """Values that all processes see."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        return self.values.setdefault(key, value.encode())

    def check(self, keys: list[str]) -> bool:
        return keys[0] in self.values

    def get(self, key: str) -> bytes:
        return self.values[key]


@given(st.integers(1, 9), st.none() | st.integers(1, 9), st.lists(st.integers(0, 1)))
def test_all_processes_stop_after_the_same_step(first: int, second: int | None, turns: list[int]) -> None:
    """One or both are asked before some step, in any order in which the steps of two processes can begin."""
    store, begun, asked = Store(), [0, 0], (first, second)

    def heard(rank: int) -> signal.Signals | None:
        return signal.SIGTERM if (asked[rank] or 99) <= begun[rank] + 1 else None

    stops = [Stop(functools.partial(heard, rank), store) for rank in range(2)]
    ended = [False, False]
    for rank in turns + 20 * [0, 1]:
        if not ended[rank] and begun[rank] <= begun[1 - rank] + 1:  # else it waits for a sum
            ended[rank] = stops[rank].is_before(begun[rank] + 1)
            begun[rank] += not ended[rank]
    assert ended == [True, True]
    assert begun[0] == begun[1] <= first + 1
    assert stops[0].signal == stops[1].signal == signal.SIGTERM


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)),
    st.lists(st.integers(0, 1)),
)
def test_all_processes_stop_in_the_same_validation(
    items: tuple[int, int], asked: tuple[int | None, int | None], turns: list[int]
) -> None:
    """One or both are asked before some item of theirs, by other signals, in any order of the items of two."""
    store, begun, signals = Store(), [0, 0], (signal.SIGTERM, signal.SIGINT)

    def heard(rank: int) -> signal.Signals | None:
        before = asked[rank]
        return signals[rank] if before is not None and before <= begun[rank] else None

    stops = [Stop(functools.partial(heard, rank), store) for rank in range(2)]
    walks = [stops[rank].until_asked(range(items[rank])) for rank in range(2)]
    for rank in turns + 6 * [0, 1]:
        begun[rank] += next(walks[rank], None) is not None
    flags: list[float] = []

    def noted(numbers: list[float]) -> list[float]:
        flags.extend(numbers)
        return numbers

    for stop in stops:
        stop.agreed_now(noted)
    agreed = {stop.agreed_now(lambda numbers: [sum(flags)]) for stop in stops}
    assert len(agreed) == 1
    assert (agreed == {None}) == (begun == list(items))


def test_one_process_stops_before_the_next_step() -> None:
    asked: list[signal.Signals] = []
    stop = Stop(lambda: asked[0] if asked else None, None)
    assert not stop.is_before(1)
    asked.append(signal.SIGHUP)
    assert stop.is_before(2)
    assert stop.signal == signal.SIGHUP


def test_processes_with_other_weights_are_named(third: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    network, theirs = new_network(1), new_network(1)

    def gather(box: list[str], mine: str) -> None:
        box[:] = [mine] * 8
        box[3] = weights_fingerprint(theirs.state_dict())

    monkeypatch.setattr(dist, "all_gather_object", gather)
    third.check_weights(network)
    next(theirs.parameters()).detach().view(torch.int32).view(-1)[0] ^= 1  # one bit of one weight
    with pytest.raises(RwkvError, match=r"different weights\.\n  got: others in process 3 than in process 0"):
        third.check_weights(network)


def test_a_single_process_ends_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(SystemExit) as caught:
        leave(3)
    assert caught.value.code == 3


class _InterruptedWatch(Watch):
    """A watch of no process that gets a signal while it settles."""

    def __init__(self, *given: object) -> None:
        self._others = {}

    def settle(self, seconds: float) -> None:
        raise Stopped(signal.SIGTERM)


def test_torchruns_signal_to_the_others_after_the_end_of_the_first_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = dist.HashStore()
    monkeypatch.setattr("rwkv.training.processes.is_one_of_several", lambda: True)
    monkeypatch.setattr("rwkv.training.processes.call_when_left_alone", lambda lost: None)
    monkeypatch.setattr("rwkv.training.processes._connected", lambda: (store, 1, 2))
    monkeypatch.setattr("rwkv.training.processes.Watch", _InterruptedWatch)
    dist.PrefixStore("news", store).add("rwkv/said", 1)  # by the first process

    def train() -> None:
        with training_processes() as processes:
            processes.stopped_by = signal.SIGTERM
            raise Stopped(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        train()
    assert caught.value.code == 128 + signal.SIGTERM


_CONNECTS = """
from rwkv.training.processes import training_processes
with training_processes():
    print("connected")
"""


def test_a_torchrun_that_ended_before_its_process_began_is_noticed() -> None:
    """Its store is gone."""
    torchrun = {"TORCHELASTIC_RUN_ID": "1", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    process = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused.getsockname()[1])}
        done = subprocess.run(
            [sys.executable, "-c", _CONNECTS],
            cwd=REPOSITORY,
            env=os.environ | torchrun | process | master,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == RwkvError.exit_code
    assert done.stderr.startswith("torchrun has ended, so the other processes end, too.\n  next: rerun")
    assert "Traceback" not in done.stderr
