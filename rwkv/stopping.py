"""Signals that end a command. They are raised as exceptions, so that it can clean up; its workers end silently."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NoReturn

from rwkv.errors import RwkvError

_ENDING = (signal.SIGTERM, signal.SIGHUP)

# The signals that the running command handles.
_handled: set[signal.Signals] = set()
# The signals received and their times, the latest last.
_arrived: dict[signal.Signals, float] = {}
_TOGETHER_S = 1.0

# The process that started this one; another one adopts this process when it ends.
_STARTED_BY = os.getppid()


class Stopped(KeyboardInterrupt):
    """A signal other than SIGINT (Ctrl-C) has asked the command to end."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise SIGTERM and SIGHUP as Stopped. Forked workers keep the default handlers and ignore Ctrl-C."""
    if _handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    _register_at_fork()
    _arrived.clear()
    # Ignored signals stay ignored, as under nohup.
    _handled.update(number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL)
    for number in _handled:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in _handled:
            signal.signal(number, signal.SIG_DFL)
        _handled.clear()


@contextmanager
def finishing(notice: str = "") -> Iterator[Callable[[], signal.Signals | None]]:
    """Hold back the first signal that asks the command to end, so that the block can finish what it has begun.

    A later one ends the block at once, unless it comes within a second. An RwkvError of the block ends the command, and
    is said, as if no signal was held back.

    Args:
        notice: A line for stderr when the first one arrives.

    Yields:
        A function that returns the signal that is held back, or None.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_handled)}
    held: list[tuple[signal.Signals, float]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        handler, at_s = handlers[signal.Signals(number)], time.monotonic()
        if held:
            if callable(handler) and at_s - held[0][1] >= _TOGETHER_S:
                handler(number, frame)
            return
        held.append((signal.Signals(number), at_s))
        if number in _handled:
            _arrived[signal.Signals(number)] = at_s
        if notice:
            with suppress(OSError):  # print could be interrupted in itself
                os.write(2, f"\n{notice}\n".encode())

    for number, handler in handlers.items():
        if callable(handler):  # ignored signals stay ignored
            signal.signal(number, hold)
    try:
        yield lambda: held[0][0] if held else None
    except RwkvError:
        for number, at_s in held:  # this error ends the block, and not the signal
            if _arrived.get(number) == at_s:
                del _arrived[number]
        raise
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)


def ended_by(number: signal.Signals) -> KeyboardInterrupt:
    """The exception that a signal raises, to raise it after it was held back."""
    return KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)


@contextmanager
def silent_start() -> Iterator[None]:
    """Start workers that ignore Ctrl-C. Signals that end the command are delayed to the end of the block.

    A worker whose command ends during its start would print a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, frame: arrived.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by the worker
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for stop in arrived[:1]:
            signal.raise_signal(stop)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM after a block whose library replaces them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_one_of_several() -> bool:
    """Whether torchrun has started this process and others of the same command."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_left_alone() -> bool:
    """Whether the process that started this one has ended."""
    return os.getppid() != _STARTED_BY


def leave(code: int) -> NoReturn:
    """End the process. One of several leaves out the cleanup of libraries, which may wait for a lost one."""
    if not is_one_of_several():
        sys.exit(code)
    kill_workers()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def kill_workers(workers: Sequence[BaseProcess] | None = None) -> None:
    """Kill worker processes, by default all. They may hold SIGTERM back, and Python's own end would wait for them."""
    if workers is None:
        workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def asked_to_end() -> signal.Signals | None:
    """The latest signal received. Its Stopped may have been lost, or replaced by another error."""
    return next(reversed(_arrived), None)


def _stop(number: int, frame: FrameType | None) -> None:
    at_s = time.monotonic()
    is_repeated = any(at_s - before_s < _TOGETHER_S for before_s in _arrived.values())
    _arrived.pop(signal.Signals(number), None)
    _arrived[signal.Signals(number)] = at_s
    if not is_repeated:  # `timeout` sends a second signal at once, which must not interrupt the cleanup
        raise Stopped(number)


@cache
def _register_at_fork() -> None:
    os.register_at_fork(after_in_child=_become_worker)


def _become_worker() -> None:
    """Reset the handlers in a forked child. It ends when the command asks it to, or has ended."""
    if _handled:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # PyTorch installs a SIGTERM handler in its workers, and reports an error if a worker ends by SIGTERM.
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled)
    for number in _handled:
        signal.signal(number, signal.SIG_DFL)
