"""Run a job for many users in several processes. A pool says where: here, or on other machines (`ray_pool`)."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rwkv.errors import RwkvError, portable
from rwkv.stopping import kill_workers, silent_start

Item = TypeVar("Item")
Result = TypeVar("Result")
# A job on some of the items. The number tells the workers of one machine apart.
PartJob = Callable[[Sequence[Item], int], Iterator[Result]]

_TASKS_PER_WORKER = 4
# How long a process may take to end after the end of its stream.
_END_S = 5


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The result of a job for one user, or its error."""

    user: int
    result: Result | None
    error: RwkvError | None


class Pool(Protocol):
    """Workers that run jobs. Commands do not know which kind they have, and results do not depend on it."""

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine."""

    def map(self, job: Callable[[int], Result], users: list[int]) -> Iterator[Outcome[Result]]:
        """Run a job for every user and yield the outcomes as they are ready; see `map_users`."""

    def spread(self, job: PartJob[Item, Result], items: Sequence[Item], sizes: Sequence[int]) -> Iterator[Result]:
        """Run a job on runs of consecutive items, and yield the results of all as they are ready.

        Args:
            job: A picklable function of some items and the number of a worker.
            items: The items.
            sizes: The amount of work of each item.

        Raises:
            RwkvError: The job raised it, or a worker was lost.
        """


@dataclass(frozen=True)
class LocalPool:
    """Worker processes of this machine; one process means this one."""

    processes: int = 1
    is_local: ClassVar[bool] = True

    def map(self, job: Callable[[int], Result], users: list[int]) -> Iterator[Outcome[Result]]:
        """See `Pool`."""
        return map_users(job, users, self.processes)

    def spread(self, job: PartJob[Item, Result], items: Sequence[Item], sizes: Sequence[int]) -> Iterator[Result]:
        """See `Pool`. Each process gets one run of items."""
        parts = runs_of(items, sizes, self.processes)
        return _stream(job, parts) if len(parts) > 1 else job(items, 0)


def runs_of(items: Sequence[Item], sizes: Sequence[int], most: int) -> list[Sequence[Item]]:
    """Cut items into at most `most` runs of about equal size."""
    size = sum(sizes) / most
    runs: list[Sequence[Item]] = []
    first = held = 0
    for stop, item_size in enumerate(sizes, 1):
        held += item_size
        if held >= size or stop == len(sizes):
            runs.append(items[first:stop])
            first, held = stop, 0
    return runs


def attempt(job: Callable[[int], Result], user: int) -> Outcome[Result]:
    """Run a job for one user. A traceback is a defect, an RwkvError a part of the outcome."""
    try:
        return Outcome(user, job(user), None)
    except RwkvError as error:
        return Outcome(user, None, error)


def map_users(job: Callable[[int], Result], users: list[int], processes: int) -> Iterator[Outcome[Result]]:
    """Run a job for every user and yield the outcomes as they are ready.

    At most a few tasks per worker are queued, so memory does not grow with the number of users.

    Args:
        job: A picklable function of a user.
        users: The users.
        processes: The number of worker processes; 1 runs the job in this process.

    Raises:
        RwkvError: A worker was killed.
        Exception: The job raised it, and it is none of ours.
    """
    if processes <= 1 or len(users) <= 1:
        yield from (attempt(job, user) for user in users)
        return
    remaining = iter(users)
    workers = min(processes, len(users))
    running: set[Future[Outcome[Result]]] = set()
    # Leaving the inner block ends the processes, and so the threads that wait for them.
    with ThreadPoolExecutor(workers) as threads, _serving(job, workers) as idle:
        while True:
            for user in islice(remaining, workers * _TASKS_PER_WORKER - len(running)):
                running.add(threads.submit(_ask, idle, user))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


@dataclass(frozen=True)
class _Worker:
    """A process and our end of its stream. Only it holds the other end, so the stream ends with it."""

    process: BaseProcess
    stream: Any


def _start(workers: list[_Worker], run: Callable[..., None], *args: Any) -> None:
    """Start a process that calls `run` with the arguments and its end of a stream. It is appended to the workers."""
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # its start within `silent_start` would let Ctrl-C reach the first worker
    ours, theirs = context.Pipe()
    with silent_start():
        process = context.Process(target=run, args=(*args, theirs))
        process.start()
        workers.append(_Worker(process, ours))
    theirs.close()


@contextmanager
def _serving(job: Callable[[int], Result], count: int) -> Iterator[SimpleQueue[_Worker]]:
    """Processes that run a job for users, all of them idle. None is left after the block."""
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()
    try:
        for _ in range(count):
            _start(workers, _serve, job)
            idle.put(workers[-1])
        yield idle
        for worker in workers:
            with suppress(ConnectionError):
                worker.stream.send(None)
        for worker in workers:
            worker.process.join()
    finally:
        kill_workers([worker.process for worker in workers])


def _ask(idle: SimpleQueue[_Worker], user: int) -> Any:
    """In a thread: give a user to an idle worker, and wait for the outcome."""
    worker = idle.get()
    try:
        with suppress(ConnectionError):  # of a worker that has ended, which receiving tells
            worker.stream.send(user)
        answer = _received(worker.stream, worker.process)
    finally:
        idle.put(worker)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(job: Callable[[int], Result], stream: connection.Connection) -> None:
    """In a worker: send the outcome for each user received, or an error that is none of ours. None ends the worker."""
    _end_with_parent()
    while True:
        with _command():
            user = stream.recv()
        if user is None:
            return
        answer: Outcome[Result] | Exception
        try:
            answer = attempt(job, user)
        except Exception as error:  # noqa: BLE001 - the command raises it
            answer = portable(error)
        with _command():
            stream.send(answer)


def _end_with_parent() -> None:
    """In a worker: end when the command has ended, even if it was killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _command() -> Iterator[None]:
    """In a worker: end silently if the command has ended while they communicate."""
    try:
        yield
    except (EOFError, OSError):
        os._exit(1)


def _received(stream: Any, process: BaseProcess) -> Any:
    """What a worker has sent. Raises RwkvError if it has ended."""
    try:
        message = stream.recv_bytes()
    except (EOFError, OSError) as error:  # OSError if it ended within the message
        process.join(_END_S)
        if process.exitcode is not None and process.exitcode > 0:  # by an error that is not one of ours
            hint = "see its traceback above; if memory ran out, use fewer of them, and rerun to continue"
            raise RwkvError("A worker process failed.", hint=hint) from error
        hint = "use fewer processes and rerun to continue"
        raise RwkvError("A worker process was killed, probably because memory ran out.", hint=hint) from error
    return pickle.loads(message)


# --- Streams of results


def _stream(job: PartJob[Item, Result], parts: list[Sequence[Item]]) -> Iterator[Result]:
    """Run a job on each part in a process of its own, and yield the results of all as they are ready."""
    workers: list[_Worker] = []
    try:
        for number, part in enumerate(parts):
            _start(workers, _send_results, job, part, number)
        running = {worker.stream: worker.process for worker in workers}
        while running:
            for stream in connection.wait(list(running)):
                message = _received(stream, running[stream])
                if message is None:
                    running.pop(stream).join()
                elif isinstance(message, RwkvError):
                    raise message
                else:
                    yield message
    finally:
        kill_workers([worker.process for worker in workers])


def _send_results(job: PartJob[Item, Result], part: Sequence[Item], number: int, stream: connection.Connection) -> None:
    """In a worker: send the results, then None; or an error."""
    _end_with_parent()
    try:
        for result in chain(job(part, number), [None]):
            with _command():
                stream.send(result)
    except RwkvError as error:
        with _command():
            stream.send(error)
