"""A job for many users in several processes."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from rwkv.errors import RwkvError
from rwkv.stopping import silent_start

Result = TypeVar("Result")

_TASKS_PER_WORKER = 4


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a job made of one user: a result or an error."""

    user: int
    result: Result | None
    error: RwkvError | None


def _attempt(job: Callable[[int], Result], user: int) -> Outcome[Result]:
    try:
        return Outcome(user, job(user), None)
    except RwkvError as error:
        return Outcome(user, None, error)


def _end_with_parent() -> None:
    """In a worker: end once the command is gone, however it was killed, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_users(job: Callable[[int], Result], users: list[int], processes: int) -> Iterator[Outcome[Result]]:
    """Run a picklable job for every user, in this process or in several; outcomes come as they are ready.

    At most a few tasks a worker are under way, so memory does not grow with the number of users.
    """
    if processes <= 1 or len(users) <= 1:
        yield from (_attempt(job, user) for user in users)
        return
    waiting = iter(users)
    under_way: set[Future[Outcome[Result]]] = set()
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(users))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            while True:
                for user in waiting:
                    with silent_start():
                        under_way.add(pool.submit(_attempt, job, user))
                    if len(under_way) >= processes * _TASKS_PER_WORKER:
                        break
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            hint = "lower PROCESSES and run the command again; it continues where it stopped"
            raise RwkvError("A worker process was killed, most likely for want of memory.", hint=hint) from error
        except BaseException:
            _end(set(multiprocessing.active_children()) - others)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end(processes: Iterable[BaseProcess]) -> None:
    """End workers in the midst of their work: all that they do is read."""
    for process in processes:
        process.terminate()
