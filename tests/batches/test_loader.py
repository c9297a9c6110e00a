"""Batches made by workers: the same for any number of them, in order, and what comes of errors and kills."""

import os
import pickle
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.loader import fetch, read_segment, training_batch, worker_errors
from rwkv.batches.plan import Group, segment_places, training_groups
from rwkv.data.database import DatabasePlace
from rwkv.data.store import ReviewStore
from rwkv.errors import RwkvError, StoreError
from tests.batches.stores import make_store

SEED = 4

# So many that a few waiting batches hold more than 1024.
OPEN_FILES = 300


@dataclass(frozen=True)
class Making:
    """Makes training batches of a store."""

    place: DatabasePlace
    groups: list[Group]

    def __call__(self, visit: tuple[int, int]) -> Batch:
        epoch, group = visit
        return training_batch(ReviewStore(self.place.shared()), self.groups[group], SEED, epoch)


@pytest.fixture
def making(tmp_path: Path) -> Making:
    place = make_store(tmp_path / "store", range(1, 6))
    with place.open() as database:
        return Making(place, training_groups(segment_places(ReviewStore(database), range(10)), 40))


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
def test_batches_are_the_same_for_any_number_of_workers(making: Making, processes: int) -> None:
    visits = [(epoch, group) for epoch in (0, 3) for group in range(len(making.groups))]
    fetched = list(fetch(making, iter(visits), processes))
    with making.place.open() as database:
        store = ReviewStore(database)
        expected = [training_batch(store, making.groups[group], SEED, epoch) for epoch, group in visits]
    assert len(expected) > 8
    assert_equal(fetched, expected)


def test_codes_are_drawn_afresh_by_epoch_segment_and_seed(making: Making) -> None:
    with making.place.open() as database:
        store = ReviewStore(database)
        group = max(making.groups, key=len)
        batches = [training_batch(store, group, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
        rows = [len(read_segment(store, place)) for place in group]
    prefixes = [prefix for batch in batches for prefix in batch.prefix.tolist()]
    assert len(set(prefixes)) == 3 * len(group) > 3
    assert all(torch.equal(batch.features, batches[0].features) for batch in batches)
    assert len(batches[0]) == sum(rows)


def test_no_items_make_no_batches(making: Making) -> None:
    assert list(fetch(making, [], 2)) == []


def _fail_at_2(item: int) -> int:
    if item == 2:
        raise StoreError("Broken.", where="a store", hint="mend it")
    return item


def test_errors_of_ours_arrive_as_themselves_in_their_turn() -> None:
    """As in this process: what was made before comes first, and the message holds nothing of the worker's."""
    made = fetch(_fail_at_2, range(5), 2)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(StoreError) as caught:
        next(made)
    assert str(caught.value) == "Broken.\n  where: a store\n  next: mend it"


def test_errors_of_a_store_arrive_from_workers(making: Making) -> None:
    gone = DatabasePlace(making.place.path / "none", 1 << 20, "SIZE", "the command")
    with pytest.raises(StoreError, match=r"There is no database(.|\n)*run `the command` first"):
        next(fetch(Making(gone, making.groups), [(0, 0)], 1))


def _die(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    made = fetch(_die, range(5), 1)
    with pytest.raises(RwkvError, match=r"A worker process was killed(.|\n)*NUM_FETCH_PROCESSES"):
        list(made)


def _process(item: int) -> int:
    return os.getpid()


@worker_errors()
def _work_after_killing(worker: int, seconds: float) -> None:
    os.kill(worker, signal.SIGKILL)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def test_a_killed_worker_is_that_error_wherever_it_is_noticed() -> None:
    """Also in the midst of other work of the main thread."""
    made = fetch(_process, range(100), 1)
    worker = next(made)
    with pytest.raises(RwkvError, match="A worker process was killed"):
        _work_after_killing(worker, seconds=10)


def _late_first(item: int) -> list[Tensor]:
    """Many tensors, as a batch has; the first ones come when all the others wait for them."""
    time.sleep(2 * (item == 0))
    return [torch.full((1,), item) for _ in range(OPEN_FILES)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_under_way_may_hold_more_files_than_a_process_may_open_by_default() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        assert [int(made[0]) for made in fetch(_late_first, range(12), 4)] == list(range(12))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_place_can_travel_to_a_worker(making: Making) -> None:
    assert pickle.loads(pickle.dumps(making)) == making


def test_a_database_is_opened_once_in_a_process(making: Making) -> None:
    """LMDB forbids twice; asked in a worker, so that nothing stays open here."""
    assert list(fetch(_same_database, [making.place], 1)) == [True]


def _same_database(place: DatabasePlace) -> bool:
    return place.shared() is DatabasePlace(place.path / ".." / place.path.name, 1, "", "").shared()
