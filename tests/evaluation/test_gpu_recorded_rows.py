"""Recorded batches of evaluation give the same rows as others, bit by bit, whatever ran before."""

import pytest
import torch
from torch import Tensor

import rwkv.evaluation.recorded
from rwkv.batches.sliced import gpu_slices
from rwkv.evaluation.history_predictions import gpu_rows, last_rows, sliced_for
from rwkv.evaluation.recorded import RecordedRows
from rwkv.model.network import frozen_network
from rwkv.model.spec import PUBLISHED
from tests.model.test_gpu_layer import distance
from tests.networks import recipe_network
from tests.ops.gpu import needs_gpu
from tests.training.learners import some_batch

pytestmark = needs_gpu

GPU = torch.device("cuda")


def test_recorded_rows_are_those_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rwkv.evaluation.recorded, "FREQUENT", 1)
    network = frozen_network(recipe_network(PUBLISHED).state_dict(), torch.bfloat16).to(GPU)
    plain = [some_batch(seed, users=users, reviews=90) for seed, users in ((1, 3), (2, 5))]
    batches = [sliced_for(batch, network.backend).pin_memory() for batch in plain]
    recorded = RecordedRows(network)
    for which in (0, 1, 0, 1, 0):
        ours = recorded(batches[which])
        assert len(ours) == len(plain[which])
        assert torch.equal(ours, last_rows(network, batches[which]))
    assert len(recorded._recordings) == 1


def test_an_evaluation_goes_on_if_memory_ends_within_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> Tensor:
        return torch.empty(2**60, dtype=torch.uint8, device=GPU)

    monkeypatch.setattr(rwkv.evaluation.recorded, "FREQUENT", 1)
    network = frozen_network(recipe_network(PUBLISHED).state_dict(), torch.bfloat16).to(GPU)
    batches = [sliced_for(some_batch(1, users=users, reviews=90), network.backend) for users in (3, 300)]
    recorded, expected = RecordedRows(network), [last_rows(network, batch).clone() for batch in batches]
    for _ in range(2):
        recorded(batches[0])
    assert len(recorded._recordings) == 1
    monkeypatch.setattr(rwkv.evaluation.recorded, "gpu_rows", too_much)
    for which in (1, 1, 0, 1):
        assert torch.equal(recorded(batches[which]), expected[which])
    assert not recorded._recordings


def test_padding_changes_only_the_order_of_sums() -> None:
    network = frozen_network(recipe_network(PUBLISHED).state_dict(), torch.float32).to(GPU)
    batch = some_batch(1, users=3, reviews=90)
    alone = gpu_rows(network, gpu_slices(batch, 10**6).to(GPU).batch)
    assert distance(last_rows(network, sliced_for(batch, network.backend)), alone) < 1e-6


def test_features_in_the_dtype_of_the_network_give_the_same_rows() -> None:
    network = frozen_network(recipe_network(PUBLISHED).state_dict(), torch.bfloat16).to(GPU)
    batch = some_batch(1, users=3, reviews=90)
    long, short = (gpu_slices(batch, 10**6, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert short.data.nbytes < long.data.nbytes
    assert torch.equal(last_rows(network, long), last_rows(network, short))
