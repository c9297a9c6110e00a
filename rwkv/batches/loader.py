"""Batches in time: made ahead in worker processes, handed over in order, the same for any number of workers."""

import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from rwkv.batches.collate import Batch, collate
from rwkv.batches.plan import Group, SegmentPlace
from rwkv.data.segments import Segment, cut_segment
from rwkv.data.store import ReviewStore
from rwkv.errors import RwkvError
from rwkv.model.inputs import draw_sequence, training_draw

Item = TypeVar("Item")
Made = TypeVar("Made")

_BATCHES_AHEAD = 2
_OPEN_FILES = 1 << 16


def read_segment(store: ReviewStore, place: SegmentPlace) -> Segment:
    """The rows of one segment."""
    stored = store.read(place.user)
    return cut_segment(stored.table, stored.is_key, place.start, place.stop, place.number)


def training_batch(store: ReviewStore, group: Group, seed: int, epoch: int) -> Batch:
    """One training step's batch, with codes drawn afresh for this epoch."""
    draws = [draw_sequence(place.user, seed, training_draw(epoch, place.number)) for place in group]
    return collate([read_segment(store, place) for place in group], draws)


class _Making(Dataset, Generic[Item, Made]):
    """Makes the thing for an item; our own errors come back as values, to be raised where the user can see them."""

    def __init__(self, make: Callable[[Item], Made]) -> None:
        self._make = make

    def __getitem__(self, item: Item) -> Made | RwkvError:
        try:
            return self._make(item)
        except RwkvError as error:
            return error


def fetch(
    make: Callable[[Item], Made], items: Iterable[Item], processes: int, pin_memory: bool = False
) -> Iterator[Made]:
    """make(item) for each of the items, in order, made ahead by `processes` worker processes, at least one.

    pin_memory: hand them over in memory from which copies to a GPU do not wait (tensors, or what can `pin_memory`).
    make: picklable; only there may databases be shared. No database may be open here, for a fork would inherit it.
    Raises what make raises, if it is an RwkvError, and RwkvError for a worker that was killed.
    """
    _allow_open_files()
    loader = DataLoader(
        _Making(make),
        batch_size=None,
        sampler=items,
        num_workers=max(1, processes),
        prefetch_factor=_BATCHES_AHEAD,
        pin_memory=pin_memory,
    )
    with worker_errors():
        for made in loader:
            if isinstance(made, RwkvError):
                raise made
            yield made


@contextmanager
def worker_errors() -> Iterator[None]:
    """A worker that was killed is an RwkvError, wherever that is noticed: in the main thread it may be at any time."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        hint = "lower NUM_FETCH_PROCESSES and run the command again; it goes on from what it has saved"
        raise RwkvError("A worker process was killed, most likely for want of memory.", hint=hint) from error


def _allow_open_files() -> None:
    """Each tensor on its way holds an open file, in all more than the 1024 that a process may have by default."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, most):
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, _OPEN_FILES)), most))
