"""Which batches of evaluation are recorded and replayed, without a GPU: a recording is replaced by a stand-in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

import pytest
import torch
from torch import Tensor

import rwkv.evaluation.recorded
from rwkv.batches.single_buffer import SingleBuffer
from rwkv.batches.sliced import SlicedBatch, gpu_slices
from rwkv.evaluation.history_predictions import sliced_for
from rwkv.evaluation.recorded import RecordedRows
from rwkv.model.gpu_batch import GpuBatch
from rwkv.model.network import Network
from rwkv.ops.backend import Backend, Kernels
from tests.networks import SMALL
from tests.training.learners import some_batch

FOR_GPU = Backend(torch.device("cuda"), Kernels.TRITON)
LAUNCHED, RECORDED, REPLAYED = "launched", "recorded", "replayed"


@dataclass(frozen=True)
class Graph:
    replay: Callable[[], None]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened to the batches, of which the third of a size is recorded; the rows are the features of a batch."""
    monkeypatch.setattr(rwkv.evaluation.recorded, "FREQUENT", 2)
    seen: list[str] = []

    def launch(network: Network, batch: SlicedBatch) -> Tensor:
        seen.append(LAUNCHED)
        assert isinstance(batch, SingleBuffer)
        return batch.batch.rows.features[: batch.template.count]

    def record(self: RecordedRows, batch: SingleBuffer[GpuBatch]) -> rwkv.evaluation.recorded._Recording:
        seen.append(RECORDED)
        ours = replace(batch, data=batch.data.clone())
        x = torch.empty_like(ours.batch.rows.features)

        def replay() -> None:
            seen.append(REPLAYED)
            x.copy_(ours.batch.rows.features)

        return rwkv.evaluation.recorded._Recording(Graph(replay), ours, x)  # type: ignore[arg-type]

    monkeypatch.setattr(rwkv.evaluation.recorded, "last_rows", launch)
    monkeypatch.setattr(RecordedRows, "_record", record)
    return seen


def features(batch: SlicedBatch) -> Tensor:
    assert isinstance(batch, SingleBuffer)
    return batch.batch.rows.features[: batch.template.count].clone()


def test_frequent_batches_are_recorded_and_later_ones_replay_with_their_own_rows(events: list[str]) -> None:
    batches = [
        sliced_for(some_batch(seed, users=users, reviews=90), FOR_GPU)
        for seed, users in ((1, 3), (2, 5), (3, 4), (4, 6))
    ]
    recorded, expected = RecordedRows(Network(SMALL)), [features(batch) for batch in batches]
    assert len({len(rows) for rows in expected}) == len(batches)
    for batch, rows in zip(batches, expected, strict=True):
        assert torch.equal(recorded(batch), rows)
    assert events == [LAUNCHED, LAUNCHED, RECORDED, REPLAYED, REPLAYED]
    assert all(torch.equal(features(batch), rows) for batch, rows in zip(batches, expected, strict=True))


def test_batches_of_several_parts_are_not_recorded(events: list[str]) -> None:
    batch = gpu_slices(some_batch(1, users=3, reviews=90), 100)
    recorded = RecordedRows(Network(SMALL))
    for _ in range(4):
        recorded(batch)
    assert events == [LAUNCHED] * 4


def test_recordings_take_limited_memory(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(SMALL)
    sizes = [gpu_slices(some_batch(1, users=3, reviews=90), 10**6, step) for step in (1000, 2000)]
    needed = [batch.data.nbytes + 4 * SMALL.channels * len(batch.template.rows) for batch in sizes]
    monkeypatch.setattr(rwkv.evaluation.recorded, "_RECORDED_BYTES", sum(needed) - 1)
    recorded = RecordedRows(network)
    for batch in sizes:
        for _ in range(4):
            recorded(batch)
    assert events == [LAUNCHED, LAUNCHED, RECORDED, REPLAYED, REPLAYED] + [LAUNCHED] * 4


def test_only_the_sizes_seen_last_are_counted(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rwkv.evaluation.recorded, "_COUNTED", 2)
    first, second, third = (gpu_slices(some_batch(1, users=3, reviews=90), 10**6, step) for step in (1000, 2000, 3000))
    recorded = RecordedRows(Network(SMALL))
    for batch in (first, second, first, third, second, third, third):
        recorded(batch)
    assert events == [LAUNCHED] * 6 + [RECORDED, REPLAYED]
    assert len(recorded._seen) == 1


def test_an_evaluation_goes_on_without_memory_for_a_recording(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, other = (gpu_slices(some_batch(1, users=3, reviews=90), 10**6, step) for step in (1000, 2000))
    recorded = RecordedRows(Network(SMALL))
    for _ in range(3):
        recorded(known)
    assert events == [LAUNCHED, LAUNCHED, RECORDED, REPLAYED]

    def fail(self: RecordedRows, batch: SingleBuffer[GpuBatch]) -> NoReturn:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(RecordedRows, "_record", fail)
    for batch in (other, other, other, known):
        assert torch.equal(recorded(batch), features(batch))
    assert events[4:] == [LAUNCHED] * 4
    assert not recorded._recordings


def test_weights_that_were_replaced_are_refused(events: list[str]) -> None:
    """A recording would read them where they were."""
    network = Network(SMALL)
    recorded, batch = RecordedRows(network), sliced_for(some_batch(1, users=3, reviews=90), FOR_GPU)
    recorded(batch)
    network.load_state_dict(Network(SMALL).state_dict(), assign=True)
    with pytest.raises(ValueError, match="weights were replaced"):
        recorded(batch)
    assert events == [LAUNCHED]
