"""Signals that end a command: it hears of them where it can tidy up, and its workers end with it, in silence."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)

# Those of them that the command under way hears of.
_heard: set[signal.Signals] = set()
# Those that have come, the latest last, and when.
_arrived: dict[signal.Signals, float] = {}
_TOGETHER_S = 1.0


class Stopped(KeyboardInterrupt):
    """A signal other than that of Ctrl-C has asked the command to end."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP are raised as Stopped. Workers that are forked hear of neither, nor of Ctrl-C."""
    if _heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    _register_at_fork()
    _arrived.clear()
    # Not those that are ignored, as nohup has it.
    _heard.update(number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL)
    for number in _heard:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in _heard:
            signal.signal(number, signal.SIG_DFL)
        _heard.clear()


@contextmanager
def silent_start() -> Iterator[None]:
    """Workers that are spawned inside do not hear of Ctrl-C. What would end the command meanwhile does so at the end.

    A worker whose command goes away before it has told it what to do would say so in a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, frame: arrived.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which a worker inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for stop in arrived[:1]:
            signal.raise_signal(stop)


def asked_to_end() -> signal.Signals | None:
    """The latest of those signals that has come; its Stopped may have been lost, or overtaken by another error."""
    return next(reversed(_arrived), None)


def _stop(number: int, frame: FrameType | None) -> None:
    at_s = time.monotonic()
    is_repeated = any(at_s - before_s < _TOGETHER_S for before_s in _arrived.values())
    _arrived.pop(signal.Signals(number), None)
    _arrived[signal.Signals(number)] = at_s
    if not is_repeated:  # what tidies up is not to be stopped by the second signal that `timeout` sends at once
        raise Stopped(number)


@cache
def _register_at_fork() -> None:
    os.register_at_fork(after_in_child=_become_worker)


def _become_worker() -> None:
    """In a child that was forked in the midst of a command: it ends when the command tells it, or is gone."""
    if _heard:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # PyTorch gives its workers a handler of SIGTERM, and takes it for an error if one ends by that.
        signal.pthread_sigmask(signal.SIG_BLOCK, _heard)
    for number in _heard:
        signal.signal(number, signal.SIG_DFL)
