"""Loading: worker processes make batches ahead and hand them over in order, independent of the number of workers."""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, TypeVar

from rwkv.batches.collate import Batch, collate
from rwkv.batches.plan import Group, SegmentPlace
from rwkv.batches.torch_workers import check_workers, killed, loading
from rwkv.data.segments import Segment, segment_of, unlabelled_row
from rwkv.data.store import ReviewStore
from rwkv.errors import RwkvError, portable
from rwkv.model.inputs import draw_sequence, training_draw

Item = TypeVar("Item")
Result = TypeVar("Result")

_OPEN_FILES = 1 << 16
_SHARED_MEMORY = "/dev/shm"
# prctl of Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


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
        result: Any = self.unpacked()
        pinned: Result = result.pin_memory()
        return pinned


class _Results(Generic[Item, Result]):
    """The result for each item, or its error, which the main process raises."""

    def __init__(self, make: Callable[[Item], Result]) -> None:
        self._make = make

    def __getitem__(self, item: Item) -> _Packed[Result] | Exception:
        try:
            return _Packed(self._make(item))
        except RwkvError as error:
            return error
        except Exception as error:  # noqa: BLE001 - PyTorch would change its text
            return portable(error)


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
        RwkvError: `make` raised it, or a worker was killed. Any other error of `make` is raised as it is.
    """
    _allow_open_files()
    with loading(_Results(make), items, processes, pin_memory, partial(_begin, os.getpid())) as results:
        for result in _handed_over(results):
            if isinstance(result, Exception):
                raise result
            yield result
            check_workers()  # one may have been killed while the result was used


def _handed_over(results: Iterator[Any]) -> Iterator[Any]:
    """The results with their tensors. Raises RwkvError if a worker was killed before it handed them over."""
    try:
        for result in results:
            yield result.unpacked() if isinstance(result, _Packed) else result
    except (ConnectionError, EOFError) as error:  # those of `make` are among the results
        raise killed() from error


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


def _allow_open_files() -> None:
    """Raise the limit of open files, often 1024: each tensor in transit holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _OPEN_FILES)), hard))
