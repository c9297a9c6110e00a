"""Run a job for many users in several processes. A pool says where: here, or on other machines (`ray_pool`)."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Generic, Protocol, TypeVar

from rwkv.errors import RwkvError
from rwkv.stopping import silent_start

Result = TypeVar("Result")

_TASKS_PER_WORKER = 4


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The result of a job for one user, or its error."""

    user: int
    result: Result | None
    error: RwkvError | None


class Pool(Protocol):
    """Workers that run jobs. Commands do not know which kind they have, and results do not depend on it."""

    def map(self, job: Callable[[int], Result], users: list[int]) -> Iterator[Outcome[Result]]:
        """Run a job for every user and yield the outcomes as they are ready; see `map_users`."""


@dataclass(frozen=True)
class LocalPool:
    """Worker processes of this machine; one process means this one."""

    processes: int = 1

    def map(self, job: Callable[[int], Result], users: list[int]) -> Iterator[Outcome[Result]]:
        """See `Pool`."""
        return map_users(job, users, self.processes)


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
        except BrokenProcessPool as error:
            hint = "use fewer processes and rerun to continue"
            raise RwkvError("A worker process was killed, probably because memory ran out.", hint=hint) from error
        except BaseException:
            _end(set(multiprocessing.active_children()) - children_before)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end(processes: Iterable[BaseProcess]) -> None:
    """End busy workers. They only read files, so nothing is lost."""
    for process in processes:
        process.terminate()
