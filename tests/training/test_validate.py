"""Validation: means over the keys' rows of all batches, independent of how they are cut."""

from dataclasses import replace

import pytest
import torch

from rwkv.batches.collate import Batch, BatchLabels
from rwkv.batches.sliced import plain_slices
from rwkv.model.network import Network
from rwkv.model.slices import ROWS_OF_A_SLICE
from rwkv.training.loss import compute_loss
from rwkv.training.validate import HeldOut, validate
from tests.networks import small_network
from tests.training.learners import some_batch

# The same float32 numbers added in another order.
SUMMED = 1e-5


def sliced(batches: list[Batch]) -> list[HeldOut]:
    return [HeldOut(plain_slices(batch, ROWS_OF_A_SLICE), batch.is_query, batch.labels) for batch in batches]


def with_keys(batch: Batch, is_equalize: torch.Tensor) -> Batch:
    return replace(batch, labels=BatchLabels(**{**vars(batch.labels), "is_equalize": is_equalize}))


def reported(network: Network, batch: Batch) -> dict[str, float]:
    """The means by one pass through the network, without slices."""
    with torch.no_grad():
        outputs = network(batch.inputs(), batch.layouts)
    loss = compute_loss(outputs, batch.labels, batch.is_query)
    return {name: float(value) for name, value in loss.reported.items()}


def test_means_of_one_batch() -> None:
    network, batch = small_network(), some_batch()
    expected = reported(network, batch)
    assert min(expected.values()) > 0
    assert validate(network, sliced([batch]), torch.float32) == pytest.approx(expected, rel=SUMMED)


def test_batches_are_weighted_by_their_equalize_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three users in one batch or one by one, with different numbers of keys and slices of rows."""
    network = small_network()
    alone = [some_batch(seed, users=1, reviews=reviews) for seed, reviews in ((1, 60), (2, 12), (3, 30))]
    alone[1] = with_keys(alone[1], torch.zeros(len(alone[1]), dtype=torch.bool))
    counts = [compute_counts(batch) for batch in alone]
    means = [reported(network, batch) for batch in alone]
    expected = {
        name: sum(mean[name] * count[name] for mean, count in zip(means, counts, strict=True))
        / sum(count[name] for count in counts)
        for name in means[0]
    }
    assert validate(network, sliced(alone), torch.float32) == pytest.approx(expected, rel=SUMMED)
    monkeypatch.setattr("rwkv.training.validate.ROWS_OF_A_SLICE", 7)
    assert validate(network, sliced(alone), torch.float32) == pytest.approx(expected, rel=SUMMED)


def compute_counts(batch: Batch) -> dict[str, int]:
    ahead = int((batch.labels.is_equalize & ~batch.is_query).sum())
    imm = int((batch.labels.is_equalize & batch.is_query).sum())
    return {"ahead_equalize": ahead, "ahead_raw_equalize": ahead, "imm_binary_equalize": imm}


def test_without_keys_there_are_no_means() -> None:
    batch = some_batch()
    batch = with_keys(batch, torch.zeros(len(batch), dtype=torch.bool))
    assert validate(small_network(), sliced([batch]), torch.float32) == {}


def test_the_network_is_not_changed() -> None:
    network = small_network()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    rough = validate(network, sliced([some_batch()]), torch.bfloat16)
    assert rough == pytest.approx(reported(network, some_batch()), rel=0.03)  # 8 bits
    assert rough != reported(network, some_batch())
    for name, weight in network.named_parameters():
        assert weight.requires_grad
        assert torch.equal(weight, before[name])
