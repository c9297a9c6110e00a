"""Loading: worker processes make batches ahead and hand them over in order, independent of the number of workers."""

import ctypes
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.reduction import ForkingPickler
from traceback import walk_stack
from types import FrameType, TracebackType
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.pin_memory import pin_memory
from torch.utils.data._utils.signal_handling import _error_if_any_worker_fails
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from rwkv.batches.collate import Batch, collate
from rwkv.batches.plan import Group, SegmentPlace
from rwkv.data.segments import Segment, segment_of, unlabelled_row
from rwkv.data.store import ReviewStore
from rwkv.errors import RwkvError
from rwkv.model.inputs import draw_sequence, training_draw

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCHES_AHEAD = 2
_OPEN_FILES = 1 << 16
_SHARED_MEMORY = "/dev/shm"
# prctl of Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
# Where PyTorch waits for a result, and for the end of the workers.
_WAITS = {
    _MultiProcessingDataLoaderIter._try_get_data.__code__,
    _MultiProcessingDataLoaderIter._shutdown_workers.__code__,
}


def read_segment(store: ReviewStore, place: SegmentPlace) -> Segment:
    """Read the rows of one segment. The time hardly depends on the length of its history."""
    return segment_of(store.excerpt(place.user, place.start, place.stop), place.number)


def training_batch(store: ReviewStore, group: Group, seed: int, epoch: int) -> Batch:
    """Make the batch of one training step, with random encodings drawn anew for the epoch.

    Without segments it is one row without a label, whose loss and gradients are 0.
    """
    if not group:
        return collate([unlabelled_row()], [draw_sequence(0, seed)])
    draws = [draw_sequence(place.user, seed, training_draw(epoch, place.number)) for place in group]
    return collate([read_segment(store, place) for place in group], draws)


class _Packed(Generic[Result]):
    """A result with its tensors in shared memory, packed by the worker that made it.

    PyTorch would pack it in another thread, whose error reaches nobody: the command would wait for ever.

    Raises:
        RwkvError: There is no shared memory left.
    """

    def __init__(self, result: Result) -> None:
        try:
            self._data = bytes(ForkingPickler.dumps(result))
        except (RuntimeError, OSError) as error:
            hint = f"enlarge {_SHARED_MEMORY}, or lower NUM_FETCH_PROCESSES, then rerun to continue"
            what = "A batch does not fit into the shared memory."
            raise RwkvError(what, where=_SHARED_MEMORY, got=str(error).split("\n", 1)[0], hint=hint) from error

    def unpacked(self) -> Result:
        """The result. Call it once."""
        result: Result = ForkingPickler.loads(self._data)
        return result

    def pin_memory(self) -> Result:
        """The result in page-locked memory."""
        pinned: Result = pin_memory(self.unpacked())
        return pinned


class _Results(Dataset[_Packed[Result] | RwkvError], Generic[Item, Result]):
    """The result for each item, or its RwkvError, which the main process raises without the worker's traceback."""

    def __init__(self, make: Callable[[Item], Result]) -> None:
        self._make = make

    def __getitem__(self, item: Item) -> _Packed[Result] | RwkvError:
        try:
            return _Packed(self._make(item))
        except RwkvError as error:
            return error


def fetch(
    make: Callable[[Item], Result], items: Iterable[Item], processes: int, pin_memory: bool = False
) -> Iterator[Result]:
    """Compute make(item) for each item in order, ahead of time in worker processes.

    No database may be open in this process, since the workers would inherit it; `make` may open shared ones.

    Args:
        make: A picklable function.
        items: Its arguments.
        processes: Number of workers; at least one is started.
        pin_memory: Return results in page-locked memory. They must be tensors or have a method `pin_memory`.

    Raises:
        RwkvError: `make` raised it, or a worker was killed.
    """
    _allow_open_files()
    with _worker_errors():
        results = _started(make, items, processes, pin_memory)
        try:
            for result in results:
                if isinstance(result, RwkvError):
                    raise result
                yield result.unpacked() if isinstance(result, _Packed) else result
                _error_if_any_worker_fails()  # it may have been killed while the result was used
        except (ConnectionError, EOFError) as error:  # a worker was killed before it handed its tensors over
            raise _killed() from error
        finally:
            # PyTorch does it when the iterator is deleted, where the end of a killed worker is a traceback.
            with suppress(RwkvError), _worker_errors():
                results._shutdown_workers()


def _started(
    make: Callable[[Item], Result], items: Iterable[Item], processes: int, pin_memory: bool
) -> _MultiProcessingDataLoaderIter:
    """Start the workers, without PyTorch's warning if they outnumber the cores: the configuration chooses them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        loader = DataLoader(
            _Results(make),
            batch_size=None,
            sampler=items,
            num_workers=max(1, processes),
            prefetch_factor=_BATCHES_AHEAD,
            pin_memory=pin_memory,
            worker_init_fn=partial(_begin, os.getpid()),
            # Processes that were spawned, such as those of several devices, would otherwise spawn theirs, in seconds.
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )
        results = _MultiProcessingDataLoaderIter(loader)
    for worker in results._workers:
        # What PyTorch does at last. Workers hold SIGTERM back, and Python would wait for them at its end.
        worker.terminate = worker.kill  # type: ignore[method-assign]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _notice_ended)
    return results


def _notice_ended(number: int, frame: FrameType | None) -> None:
    """Raise an error for a killed worker if it interrupts waiting for workers; `fetch` notices all others.

    PyTorch's own handler raises it anywhere, as in an import whose errors are printed and not raised.
    """
    interrupted = [outer.f_code for outer, _ in walk_stack(frame)]
    if not _WAITS.isdisjoint(interrupted) and all(code.co_name != "__del__" for code in interrupted):
        _error_if_any_worker_fails()


def _begin(parent: int, worker: int) -> None:
    """In a worker: end silently when its parent ends. PyTorch's own check does not notice one that ended before it."""
    sys.excepthook = _print_error
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _print_error(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    """In a worker: print an error of the thread that hands tensors over, but not that the parent ended meanwhile."""
    if not isinstance(error, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, place)


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Turn PyTorch's error for a killed worker into an RwkvError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _killed() from error


def _killed() -> RwkvError:
    hint = "lower NUM_FETCH_PROCESSES, then rerun to continue"
    return RwkvError("A worker process was killed, probably because memory ran out.", hint=hint)


def _allow_open_files() -> None:
    """Raise the limit of open files, often 1024: each tensor in transit holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _OPEN_FILES)), hard))
