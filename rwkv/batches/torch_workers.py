"""PyTorch's loading processes. Only this file uses what PyTorch keeps private; the names are those of 2.11 to 2.13.

By itself PyTorch raises the end of a worker anywhere, as in an import whose errors are printed and not raised, and
waits for workers that hold SIGTERM back.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import attrgetter
from traceback import walk_stack
from types import CodeType, FrameType
from typing import Any

import torch.utils.data
from torch.utils.data import DataLoader

from rwkv.errors import RwkvError
from rwkv.stopping import silent_start

_BATCHES_AHEAD = 2
# Where PyTorch waits for a result, and for the end of the workers.
_WAITS = (
    "dataloader._MultiProcessingDataLoaderIter._try_get_data",
    "dataloader._MultiProcessingDataLoaderIter._shutdown_workers",
)
# The module with PyTorch's handler, and its function that raises an error if a worker was killed.
_HANDLING = "_utils.signal_handling"
_ERROR_IF_KILLED = f"{_HANDLING}._error_if_any_worker_fails"
# What PyTorch's error for a lost worker says.
_LOST = "DataLoader worker (pid"


@contextmanager
def loading(
    results: Any, items: Iterable[Any], processes: int, pin_memory: bool, begin: Callable[[int], None]
) -> Iterator[Iterator[Any]]:
    """Compute results[item] for each item in worker processes, which run for the time of the block.

    Args:
        results: An object with the method `__getitem__`.
        items: Its arguments.
        processes: Number of workers; at least one is started.
        pin_memory: Call the method `pin_memory` of each result, in a thread.
        begin: What a worker does first.

    Yields:
        The results in the order of the items.

    Raises:
        RwkvError: A worker was killed, or this PyTorch has other private names.
    """
    waits = {_private(path).__code__ for path in _WAITS}
    error_if_killed = _private(_ERROR_IF_KILLED)
    before = signal.getsignal(signal.SIGCHLD)
    with ExitStack() as stack:
        with silent_start(), _sentence():  # PyTorch could not end workers of which it has started some
            arriving = _started(results, items, processes, pin_memory, begin)
            for worker in _private("_workers", arriving):
                # What PyTorch does at last. Workers hold SIGTERM back, and Python would wait for them at its end.
                worker.terminate = worker.kill
            stack.enter_context(_noticing(waits, error_if_killed, before))
            stack.callback(_end, arriving)
        yield _told(arriving)


def _end(arriving: Any) -> None:
    """End the workers. PyTorch does it when the iterator is deleted, where the end of a killed one is a traceback."""
    with suppress(RwkvError), _sentence():
        arriving._shutdown_workers()


def _told(arriving: Iterator[Any]) -> Iterator[Any]:
    with _sentence():
        yield from arriving


def check_workers() -> None:
    """Raise RwkvError if a worker was killed."""
    with _sentence():
        _private(_ERROR_IF_KILLED)()


def killed() -> RwkvError:
    """The error for a killed worker."""
    hint = "lower NUM_FETCH_PROCESSES, then rerun to continue"
    return RwkvError("A worker process was killed, probably because memory ran out.", hint=hint)


def _started(
    results: Any, items: Iterable[Any], processes: int, pin_memory: bool, begin: Callable[[int], None]
) -> Iterator[Any]:
    """Start the workers, without PyTorch's warning if they outnumber the cores: the configuration chooses them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        loader: DataLoader[Any] = DataLoader(
            results,
            batch_size=None,
            sampler=items,
            num_workers=max(1, processes),
            prefetch_factor=_BATCHES_AHEAD,
            pin_memory=pin_memory,
            worker_init_fn=begin,
            # Processes that were spawned, such as those of several devices, would otherwise spawn theirs, in seconds.
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )
        return iter(loader)


def _private(path: str, owner: Any = torch.utils.data) -> Any:
    """Something that PyTorch keeps private. Raises RwkvError where a release lacks it."""
    try:
        return attrgetter(path)(owner)
    except AttributeError as error:
        raise RwkvError(
            "This version of PyTorch lacks a private name that loading uses.",
            where=f"{getattr(owner, '__name__', type(owner).__name__)}.{path}",
            got=f"torch {torch.__version__}",
            expected="torch 2.11 to 2.13",
            hint="install one of these; a later one needs a change of rwkv/batches/torch_workers.py",
        ) from error


@contextmanager
def _noticing(waits: set[CodeType], error_if_killed: Callable[[], None], before: Any) -> Iterator[None]:
    """Raise an error for a killed worker if its end interrupts waiting for workers; `check_workers` notices all others.

    Args:
        waits: The code in which PyTorch waits.
        error_if_killed: Raises PyTorch's error.
        before: The handler of SIGCHLD before PyTorch set its own. It is called meanwhile, and restored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_called = callable(before) and getattr(before, "__module__", "") != _private(_HANDLING).__name__

    def notice(number: int, frame: FrameType | None) -> None:
        if is_called:
            before(number, frame)
        interrupted = [outer.f_code for outer, _ in walk_stack(frame)]
        if not waits.isdisjoint(interrupted) and all(code.co_name != "__del__" for code in interrupted):
            error_if_killed()

    signal.signal(signal.SIGCHLD, notice)
    try:
        yield
    finally:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and before is not None and signal.getsignal(signal.SIGCHLD) is notice:
            signal.signal(signal.SIGCHLD, before)


@contextmanager
def _sentence() -> Iterator[None]:
    """Turn PyTorch's error for a killed worker into an RwkvError."""
    try:
        yield
    except RuntimeError as error:
        if _LOST not in str(error):
            raise
        raise killed() from error
