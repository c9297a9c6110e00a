"""Run a job for many users in several processes. A pool says where: here, or on other machines (`ray_pool`)."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rwkv.errors import RwkvError
from rwkv.stopping import silent_start

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


def _end_with_parent() -> None:
    """In a worker: end when the command has ended, even if it was killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_users(job: Callable[[int], Result], users: list[int], processes: int) -> Iterator[Outcome[Result]]:
    """Run a job for every user and yield the outcomes as they are ready.

    At most a few tasks per worker are queued, so memory does not grow with the number of users.

    Args:
        job: A picklable function of a user.
        users: The users.
        processes: The number of worker processes; 1 runs the job in this process.

    Raises:
        RwkvError: A worker was killed.
    """
    if processes <= 1 or len(users) <= 1:
        yield from (attempt(job, user) for user in users)
        return
    remaining = iter(users)
    running: set[Future[Outcome[Result]]] = set()
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(users))
    children_before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            while True:
                for user in remaining:
                    with silent_start():
                        running.add(pool.submit(attempt, job, user))
                    if len(running) >= processes * _TASKS_PER_WORKER:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise _killed() from error
            _end(set(multiprocessing.active_children()) - children_before)
            raise


def _end(processes: Iterable[BaseProcess]) -> None:
    """End busy workers. They only read files, so nothing is lost."""
    for process in processes:
        process.terminate()


def _killed() -> RwkvError:
    hint = "use fewer processes and rerun to continue"
    return RwkvError("A worker process was killed, probably because memory ran out.", hint=hint)


# --- Streams of results


def _stream(job: PartJob[Item, Result], parts: list[Sequence[Item]]) -> Iterator[Result]:
    """Run a job on each part in a process of its own, and yield the results of all as they are ready."""
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # its start within `silent_start` would let Ctrl-C reach the first worker
    streams: dict[Any, BaseProcess] = {}
    try:
        for number, part in enumerate(parts):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_send_results, args=(job, part, number, theirs))
            streams[ours] = process
            with silent_start():
                process.start()
            theirs.close()  # so that the end of the process is the end of the stream
        while streams:
            for stream in connection.wait(list(streams)):
                message = _received(stream, streams[stream])
                if message is None:
                    streams.pop(stream).join()
                elif isinstance(message, RwkvError):
                    raise message
                else:
                    yield message
    finally:
        _end(process for process in streams.values() if process.is_alive())


def _send_results(job: PartJob[Item, Result], part: Sequence[Item], number: int, stream: connection.Connection) -> None:
    """In a worker: send the results, then None; or an error."""
    _end_with_parent()
    try:
        for result in job(part, number):
            stream.send(result)
        stream.send(None)
    except RwkvError as error:
        stream.send(error)


def _received(stream: Any, process: BaseProcess) -> Any:
    try:
        return stream.recv()
    except (EOFError, ConnectionError) as error:
        process.join(_END_S)
        if process.exitcode is not None and process.exitcode > 0:  # by an error that is not one of ours
            hint = "see its traceback above; if memory ran out, use fewer devices, and rerun to continue"
            raise RwkvError("A worker process failed.", hint=hint) from error
        raise _killed() from error
