"""Batches made by workers: independent of the number of workers, in order, with errors and kills reported."""

import os
import pickle
import resource
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.loader import fetch, read_segment, training_batch
from rwkv.batches.plan import Group, segment_places, training_groups
from rwkv.data.database import DatabasePlace
from rwkv.data.store import ReviewStore
from rwkv.errors import RwkvError, StoreError
from tests.batches.stores import make_store

SEED = 4

# A few waiting batches then hold more than 1024 open files.
OPEN_FILES = 300


@dataclass(frozen=True)
class BatchMaker:
    """Makes the training batches of a store."""

    place: DatabasePlace
    groups: list[Group]

    def __call__(self, visit: tuple[int, int]) -> Batch:
        epoch, group = visit
        return training_batch(ReviewStore(self.place.shared()), self.groups[group], SEED, epoch)


@pytest.fixture
def maker(tmp_path: Path) -> BatchMaker:
    place = make_store(tmp_path / "store", range(1, 6))
    with place.open() as database:
        return BatchMaker(place, training_groups(segment_places(ReviewStore(database), range(10)), 40))


def tensors(batch: Batch) -> list[Tensor]:
    layouts = [x for layout in batch.layouts for x in (*vars(layout).values(), *vars(layout.groups).values())]
    held = [*vars(batch).values(), *batch.entities.values(), *vars(batch.labels).values(), *layouts]
    return [x for x in held if isinstance(x, Tensor)]


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(tensors(one), tensors(other), strict=True))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("processes", [0, 1, 3])
def test_batches_are_the_same_for_any_number_of_workers(maker: BatchMaker, processes: int) -> None:
    visits = [(epoch, group) for epoch in (0, 3) for group in range(len(maker.groups))]
    fetched = list(fetch(maker, iter(visits), processes))
    with maker.place.open() as database:
        store = ReviewStore(database)
        expected = [training_batch(store, maker.groups[group], SEED, epoch) for epoch, group in visits]
    assert len(expected) > 8
    assert_equal(fetched, expected)


def test_codes_differ_by_epoch_segment_and_seed(maker: BatchMaker) -> None:
    with maker.place.open() as database:
        store = ReviewStore(database)
        group = max(maker.groups, key=len)
        batches = [training_batch(store, group, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
        rows = [len(read_segment(store, place)) for place in group]
    prefixes = [prefix for batch in batches for prefix in batch.prefix.tolist()]
    assert len(set(prefixes)) == 3 * len(group) > 3
    assert all(torch.equal(batch.features, batches[0].features) for batch in batches)
    assert len(batches[0]) == sum(rows)


def test_no_items_make_no_batches(maker: BatchMaker) -> None:
    assert list(fetch(maker, [], 2)) == []


def _fail_at_2(item: int) -> int:
    if item == 2:
        raise StoreError("Broken.", where="a store", hint="mend it")
    return item


def test_an_rwkv_error_arrives_in_order_without_the_workers_text() -> None:
    """Earlier results come first."""
    results = fetch(_fail_at_2, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(StoreError) as caught:
        next(results)
    assert str(caught.value) == "Broken.\n  where: a store\n  next: mend it"


def test_errors_of_a_store_arrive_from_workers(maker: BatchMaker) -> None:
    gone = DatabasePlace(maker.place.path / "none", 1 << 20, "SIZE", "the command")
    with pytest.raises(StoreError, match=r"The database does not exist(.|\n)*run `the command` first"):
        next(fetch(BatchMaker(gone, maker.groups), [(0, 0)], 1))


class _OddError(RuntimeError):
    """Cannot be pickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"a DataLoader worker (pid {one} and {other})")


def _fail(kind: str) -> None:
    raise {"EOFError": EOFError, "BrokenPipeError": BrokenPipeError, "RuntimeError": _OddError}[kind](1, 2)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (EOFError, "1, 2"),
        (BrokenPipeError, "[Errno 1] 2"),
        (RuntimeError, "_OddError: a DataLoader worker (pid 1 and 2)"),
    ],
)
def test_an_error_of_a_job_is_not_called_a_killed_worker(kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        list(fetch(_fail, [kind.__name__], 1))
    assert text in str(caught.value)
    assert "in _fail" in caught.value.__notes__[0], "the traceback of the worker"


def _ones(item: int) -> Tensor:
    return torch.ones(100_000)


def test_a_lack_of_shared_memory_is_an_error_instead_of_waiting_for_ever() -> None:
    """The system's limit of a file's size, which shared memory has too, stands for a full /dev/shm."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RwkvError, match=r"shared memory(.|\n)*/dev/shm(.|\n)*File too large"):
            list(fetch(_ones, range(5), 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(list(fetch(_ones, range(5), 1))) == 5


def _late_first(item: int) -> list[Tensor]:
    """Many tensors, as a batch has; the first item is ready only after all others wait."""
    time.sleep(2 * (item == 0))
    return [torch.full((1,), item) for _ in range(OPEN_FILES)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_waiting_batches_may_hold_more_files_than_the_default_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        assert [int(result[0]) for result in fetch(_late_first, range(12), 4)] == list(range(12))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_database_place_can_be_pickled(maker: BatchMaker) -> None:
    assert pickle.loads(pickle.dumps(maker)) == maker


def test_a_database_is_opened_once_in_a_process(maker: BatchMaker) -> None:
    """LMDB forbids opening twice. The test runs in a worker, so that nothing stays open in this process."""
    assert list(fetch(_same_database, [maker.place], 1)) == [True]


def _same_database(place: DatabasePlace) -> bool:
    return place.shared() is DatabasePlace(place.path / ".." / place.path.name, 1, "", "").shared()


def test_more_workers_than_cores_are_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(fetch(abs, range(3), (os.cpu_count() or 1) + 1)) == [0, 1, 2]
    assert [str(warning.message) for warning in caught if "DataLoader" in str(warning.message)] == []
