"""A process notices the end of another one, unless that was done."""

import functools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from rwkv.errors import RwkvError
from rwkv.training.watch import Watch
from tests.benchmark.workspace import REPOSITORY, wait_until


class Store:
    """A store within one process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: str) -> None:
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: key in self._values, 10)
            return self._values[key].encode()


@pytest.fixture
def lost() -> list[tuple[int, int]]:
    """Pairs of processes: one that noticed the end of the other."""
    return []


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch, lost: list[tuple[int, int]]) -> list[Watch]:
    """Those of three processes, here in threads."""
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setattr("os.register_at_fork", lambda **_: None)
    store, made = Store(), dict[int, Watch]()

    def make(rank: int) -> None:
        made[rank] = Watch(rank, 3, store, lambda other: lost.append((rank, other)))

    run_all([functools.partial(make, rank) for rank in range(3)])
    return [made[rank] for rank in range(3)]


def run_all(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_done_processes_are_not_missed(watches: list[Watch], lost: list[tuple[int, int]]) -> None:
    for watch in watches[1:]:
        watch.__exit__(None, None, None)
    watches[0].__exit__(None, None, None)  # waits for the others
    assert lost == []


@pytest.mark.parametrize("rank", [0, 2])
def test_the_end_of_a_process_is_noticed(watches: list[Watch], lost: list[tuple[int, int]], rank: int) -> None:
    """The first process notices that of any other one, and the others that of the first."""
    watches[1].settle(0.1)
    assert lost == []
    for connection in watches[rank]._others.values():
        connection.shutdown(2)
    expected = {0: [(1, 0), (2, 0)], 2: [(0, 2)]}[rank]
    wait_until(lambda: set(expected) <= set(lost))


@pytest.mark.parametrize(
    "greeting",
    [
        b"",  # silent
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" + bytes(30),
        b"\xff" * 4000,
        b"0" * 32 + b"00000001",
        b"SECRET" + b"00000000",  # the first process itself
        b"SECRET" + b"00000007",
        b"SECRET" + b"-0000001",
    ],
    ids=["silent", "web", "bytes", "guess", "first", "number", "sign"],
)
@pytest.mark.parametrize("closes", [False, True])
def test_foreign_connections_neither_count_nor_delay(
    monkeypatch: pytest.MonkeyPatch, lost: list[tuple[int, int]], greeting: bytes, closes: bool
) -> None:
    """They come first, while the start waits for the only other process."""
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setattr("os.register_at_fork", lambda **_: None)
    store, made = Store(), dict[int, Watch]()

    def make(rank: int) -> None:
        made[rank] = Watch(rank, 2, store, lambda other: lost.append((rank, other)))

    def intrude_then_make() -> None:
        port, secret = store.get("rwkv/watch").decode().split()
        with socket.create_connection(("localhost", int(port))) as foreign:
            foreign.sendall(greeting.replace(b"SECRET", secret.encode()))
            if closes:
                foreign.close()
            make(1)
            wait_until(lambda: 0 in made)

    run_all([lambda: make(0), intrude_then_make])
    assert list(made[0]._others) == [1]
    made[1].__exit__(None, None, None)
    made[0].__exit__(None, None, None)
    assert lost == []


def test_a_process_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwkv.training.watch._PATIENCE_S", 0.1)
    with pytest.raises(RwkvError, match=r"cannot connect\.\n  got: other processes did not come within 0"):
        Watch(0, 3, Store(), lambda other: None)


_CHILD = """
import sys, threading
from rwkv.training.watch import call_when_left_alone
done = threading.Event()
call_when_left_alone(done.set)
print("begun", flush=True)
sys.stderr.write("noticed" if done.wait(30) else "waited in vain")
"""
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
"""


def test_the_end_of_the_process_that_started_this_one_is_noticed() -> None:
    command = [sys.executable, "-c", _PARENT, _CHILD]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "noticed"
