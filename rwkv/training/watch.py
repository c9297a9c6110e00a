"""Noticing at once that another process of a training has ended, on any of its machines.

The first process holds a connection to each other one. The operating system closes it however a process ends; a machine
that is lost no longer answers the probes of the connection.
"""

import hmac
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from types import TracebackType
from typing import Protocol

from rwkv.errors import RwkvError
from rwkv.stopping import is_left_alone

_KEY = "rwkv/watch"
_DONE = b"d"
# A process greets the first one by a secret and its number. Only those that reach torchrun's store know the secret.
_SECRET_BYTES, _RANK_DIGITS = 16, 8
_GREETING = 2 * _SECRET_BYTES + _RANK_DIGITS
# Seconds to connect, and until the first process does not wait longer for the others' end.
_PATIENCE_S = 60.0
# Seconds between looks whether the process that started this one is there.
_LOOK_S = 1.0
# A machine that does not answer is given up after 5 + 3 * 5 seconds.
_PROBES = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Store(Protocol):
    """Values that all processes see, as torch.distributed.Store."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...


class Watch:
    """A thread that calls `lost` once another process has ended before it was done.

    Args:
        rank: Number of this process, from 0.
        processes: Number of processes.
        store: Where they find one another.
        lost: Receives the number of the process that ended.

    Raises:
        RwkvError: The processes cannot connect.
    """

    def __init__(self, rank: int, processes: int, store: Store, lost: Callable[[int], None]) -> None:
        self._lost = lost
        try:
            self._others = _accept(processes, store) if rank == 0 else {0: _connect(rank, store)}
        except (OSError, ValueError) as error:
            hint = "check that the machines can reach one another, then rerun"
            raise RwkvError("The processes of the training cannot connect.", got=str(error), hint=hint) from error
        for connection in self._others.values():
            _probe(connection)
        # Forked workers would keep the connections open after a kill.
        os.register_at_fork(after_in_child=self._close)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def settle(self, seconds: float) -> None:
        """Give the thread time to notice that another process has ended, which may be why this one fails."""
        self._thread.join(seconds)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the others that this process is done, and wait for them in the first one."""
        if error is None:
            for connection in self._others.values():
                with suppress(OSError):  # it may be done and gone
                    connection.sendall(_DONE)
            if 0 not in self._others:
                self._thread.join(_PATIENCE_S)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, connection in self._others.items():
                selector.register(connection, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    connection = self._others[key.data]
                    if not _is_done(connection):
                        self._lost(key.data)
                    selector.unregister(connection)

    def _close(self) -> None:
        for connection in self._others.values():
            connection.close()


def call_when_left_alone(lost: Callable[[], None]) -> None:
    """Start a thread that calls `lost` once the process that started this one has ended."""

    def watch() -> None:
        while not is_left_alone():
            time.sleep(_LOOK_S)
        lost()

    threading.Thread(target=watch, daemon=True).start()


def _accept(processes: int, store: Store) -> dict[int, socket.socket]:
    """In the first process: a connection to each other one, by its number.

    The address is open to the network, so only a connection that sends the secret of this training counts. Others, also
    silent ones, neither delay nor end the start.
    """
    secret = secrets.token_hex(_SECRET_BYTES)
    connections: dict[int, socket.socket] = {}
    with socket.create_server(("", 0)) as server:
        store.set(_KEY, f"{server.getsockname()[1]} {secret}")
        with closing(_greetings(server)) as greetings:
            while len(connections) < processes - 1:
                connection, greeting = next(greetings)
                rank = _rank_in(greeting, secret)
                if 0 < rank < processes and rank not in connections:
                    connections[rank] = connection
                else:
                    connection.close()
    return connections


def _greetings(server: socket.socket) -> Generator[tuple[socket.socket, bytes], None, None]:
    """Connections with the first bytes that they sent, as they come.

    Raises:
        TimeoutError: The time is over.
    """
    server.setblocking(False)  # a connection may be gone before it is accepted
    until_s = time.monotonic() + _PATIENCE_S
    pending: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ, server)
        try:
            while (rest_s := until_s - time.monotonic()) > 0:
                for connection in [key.data for key, _ in selector.select(rest_s)]:
                    if connection is server:
                        with suppress(OSError):
                            connection, _ = server.accept()
                            connection.setblocking(False)
                            selector.register(connection, selectors.EVENT_READ, connection)
                            pending[connection] = b""
                        continue
                    received = _received(connection, _GREETING - len(pending[connection]))
                    pending[connection] += received
                    if not received or len(pending[connection]) == _GREETING:
                        selector.unregister(connection)
                        yield connection, pending.pop(connection)
        finally:
            for connection in pending:
                connection.close()
    raise TimeoutError(f"other processes did not come within {_PATIENCE_S:g} seconds")


def _received(connection: socket.socket, most: int) -> bytes:
    try:
        return connection.recv(most)
    except OSError:
        return b""


def _rank_in(greeting: bytes, secret: str) -> int:
    """The number in a greeting with the right secret; -1 for others."""
    theirs, number = greeting[: len(secret)], greeting[len(secret) :]
    return int(number) if hmac.compare_digest(theirs, secret.encode()) and number.isdigit() else -1


def _connect(rank: int, store: Store) -> socket.socket:
    """A connection to the first process."""
    port, secret = store.get(_KEY).decode().split()
    connection = socket.create_connection((os.environ["MASTER_ADDR"], int(port)), _PATIENCE_S)
    connection.sendall(f"{secret}{rank:0{_RANK_DIGITS}}".encode())
    return connection


def _probe(connection: socket.socket) -> None:
    """Probe a silent connection."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _is_done(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == _DONE
    except OSError:
        return False
