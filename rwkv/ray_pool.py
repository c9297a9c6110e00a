"""A pool of workers on the machines of a Ray cluster. The only module that uses Ray.

A task yields its results one by one. Ray runs the tasks of a lost node again on another, and drops the results that
arrived before. Only the command itself writes.
"""

import hashlib
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from rwkv.errors import InputError, RwkvError
from rwkv.stopping import kept_handlers
from rwkv.workers import Outcome, PartJob, attempt, runs_of

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_S = 10.0
# Nodes that a task may lose before the command fails.
_RETRIES = 5
# Tasks in flight for each that can run at once, so that no worker waits for the next.
_TASKS_AHEAD = 2
# Parts for each worker: few enough that starting one costs little, many enough that all end together.
_PARTS_PER_WORKER = 16
# The first bytes of a connection to a head, which speaks HTTP/2 (RFC 9113, 3.4): the answer begins with settings, too.
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS


@dataclass(frozen=True)
class RayPool:
    """The workers of the connected cluster.

    Attributes:
        place: What every node must have in common with this machine.
        cpus: CPU cores of a task.
        gpus: GPUs of a task, 0 or 1.
    """

    place: "_Place"
    cpus: int = 1
    gpus: int = 0
    is_local: ClassVar[bool] = False

    def map(self, job: Callable[[int], Result], users: list[int]) -> Iterator[Outcome[Result]]:
        """See `rwkv.workers.Pool`."""
        return self.spread(partial(_attempt_each, job), users, [1] * len(users))

    def spread(self, job: PartJob[Item, Result], items: Sequence[Item], sizes: Sequence[int]) -> Iterator[Result]:
        """See `rwkv.workers.Pool`. Each task gets a run of items; there are several for each worker."""
        workers = max(1, _tasks_at_once(self.cpus, self.gpus))
        return self._run(job, runs_of(items, sizes, workers * _PARTS_PER_WORKER))

    def _run(self, job: PartJob[Item, Result], parts: list[Sequence[Item]]) -> Iterator[Result]:
        """Yield the results of all parts as they are ready."""
        # By default Ray ends a worker after a task with a GPU. Here it stays on the GPU of its first task.
        remote: Any = ray.remote(max_calls=0, max_retries=_RETRIES, num_returns="streaming")
        task = remote(_results).options(num_cpus=self.cpus, num_gpus=self.gpus, name="rwkv")
        waiting = deque(parts)
        running: list[Any] = []
        is_short = True
        try:
            while waiting or running:
                if is_short:
                    most = _TASKS_AHEAD * max(1, _tasks_at_once(self.cpus, self.gpus))
                    running += [task.remote(self.place, job, part) for part in _taken(waiting, most - len(running))]
                    is_short = False
                stream = self._ready(running)
                result = next(stream, None)
                if result is None:
                    running.remove(stream)
                    is_short = True
                else:
                    yield _raised(ray.get(self._ready([result])))
        except RayTaskError:
            raise
        except RayError as error:
            got, hint = str(error).split("\n", 1)[0], "check the nodes with `ray status`, and rerun to continue"
            raise RwkvError("The cluster lost the same work several times.", got=got, hint=hint) from error

    def _ready(self, references: list[Any]) -> Any:
        """Wait for one of several streams or results."""
        while not (ready := ray.wait(references, num_returns=1, timeout=_PATIENCE_S)[0]):
            if not _tasks_at_once(self.cpus, self.gpus):
                raise RwkvError("The cluster has lost all its nodes.", hint="add nodes, and rerun to continue")
        return ready[0]


def _taken(waiting: deque[Item], most: int) -> list[Item]:
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]


def _tasks_at_once(cpus: int, gpus: int) -> int:
    """How many tasks the cluster can run at once. Nodes may come and go."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = [(int(node.get("CPU", 0)) // cpus, int(node.get("GPU", 0)) // max(1, gpus)) for node in nodes]
    return sum(min(pair) if gpus else pair[0] for pair in slots)


@contextmanager
def ray_pool(
    address: str, paths: Sequence[Path], identify: Callable[[Path], str], cpus: int = 1, gpus: int = 0
) -> Iterator[RayPool]:
    """Connect to a cluster for the time of the block.

    Args:
        address: Its address, host:port; "auto" for a cluster that this machine belongs to.
        paths: Files and folders that every node must see.
        identify: Gives a text that is the same only for the same contents of a path.
        cpus: CPU cores of a task.
        gpus: GPUs of a task, 0 or 1.

    Raises:
        InputError: The cluster cannot be reached, or none of its nodes can run a task.
    """
    _connect(address)
    try:
        if not _tasks_at_once(cpus, gpus):
            hint = "add such nodes" + (', or set DEVICE = "cpu"' if gpus else ", or lower THREADS")
            needed = f"a node with {cpus} CPU cores" + (" and a GPU" if gpus else "")
            raise InputError("No node of the cluster can run a task.", where=address, expected=needed, hint=hint)
        present = [path.absolute() for path in paths if path.exists()]  # the command reports those missing here
        yield RayPool(_Place(Path.cwd(), {path: identify(path) for path in present}, identify, _code()), cpus, gpus)
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    try:
        _reach(address if address != "auto" else os.environ.get("RAY_ADDRESS", address))
        with kept_handlers():  # Ray replaces them
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise InputError(
            "The Ray cluster cannot be reached.",
            where=address,
            got=str(error).split("\n", 1)[0],
            hint="start it with `ray start --head`, and see docs/many-machines.md",
        ) from error


def _reach(address: str) -> None:
    """Raise OSError within seconds if no head of a cluster listens at host:port; Ray would try for many minutes."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or "/" in host:
        return
    with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        connection.sendall(_GREETING)
        with connection.makefile("rb") as answer:
            if answer.read(len(_SETTINGS))[3:4] != _SETTINGS[3:4]:
                raise ConnectionError("another program listens there; `ray start --head` prints the right port")


# --- On a node


@dataclass(frozen=True)
class _Place:
    """What a node must have in common with the machine of the command: code, and paths with the same contents."""

    folder: Path
    contents: dict[Path, str]
    identify: Callable[[Path], str]
    code: str

    def enter(self) -> None:
        """Work in the command's folder, to which paths are relative. Raises InputError, which names the node."""
        node = f"node {platform.node()}"
        if self.code != _code():
            hint = "install the same version of rwkv on all nodes, and restart them"
            raise InputError("A node has another version of rwkv.", where=node, hint=hint)
        for path in (self.folder, *self.contents):
            if not path.exists():
                hint = "put the data on a file system that all nodes share, or copy it to the same path on each node"
                raise InputError("A node does not see the data.", where=f"{node}, {path}", hint=hint)
        for path, expected in self.contents.items():
            if (got := self.identify(path)) != expected:
                what, hint = "A node has other data than the command.", "copy the data again, and change none meanwhile"
                raise InputError(what, where=f"{node}, {path}", got=got, expected=expected, hint=hint)
        os.chdir(self.folder)


def _results(place: _Place, job: PartJob[Item, Result], items: Sequence[Item]) -> Iterator[Result | RwkvError]:
    """The task: the results of a part, one by one, or an error that ends the command."""
    try:
        place.enter()
        yield from job(items, 0)
    except RwkvError as error:
        yield error


def _raised(result: Any) -> Any:
    if isinstance(result, RwkvError):
        raise result
    return result


def _attempt_each(job: Callable[[int], Result], users: Sequence[int], number: int) -> Iterator[Outcome[Result]]:
    return (attempt(job, user) for user in users)


@cache
def _code() -> str:
    """A hash of the package's Python files."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        with suppress(OSError):
            digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
