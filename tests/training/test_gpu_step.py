"""Steps on a GPU: float32 steps equal the CPU's, recorded steps equal others, and bfloat16 trains."""

import math

import pytest
import torch

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch, pad_batch
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network, new_network
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import make_optimizer, set_learning_rate
from rwkv.training.staging import staged
from rwkv.training.step import StepReport, train_step
from tests.ops.gpu import needs_gpu
from tests.training.learners import some_batch
from tests.typed import not_none

GPU = torch.device("cuda")
FULL_ROWS, LARGE_ROWS = 800, 4800


def batches(count: int) -> list[Batch]:
    return [some_batch(seed, users=3, reviews=60) for seed in range(count)]


def large_batches(count: int) -> list[Batch]:
    """About 4,000 rows each."""
    return [some_batch(seed, users=6, reviews=350) for seed in range(count)]


def ready(batch: Batch) -> PaddedBatch:
    return pad_batch(batch, FULL_ROWS)


def run(device: torch.device, count: int, rate: float = 1e-3) -> tuple[Network, list[StepReport]]:
    """Plain steps from the initial weights, with dropout."""
    network = new_network(3).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()))
    set_learning_rate(optimizer, rate)
    reports = [
        train_step(
            network, optimizer, b.to(device), torch.float32, "all", DropoutMasks(torch.tensor([n], device=device))
        )
        for n, b in enumerate(batches(count))
    ]
    return network, reports


def test_padding_changes_nothing() -> None:
    """On any device, the added rows take part in no loss and no gradient."""
    results = []
    for padded in (False, True):
        network = new_network(3)
        optimizer = make_optimizer(dict(network.named_parameters()))
        batch = some_batch(1, users=3, reviews=60)
        batch = pad_batch(batch, FULL_ROWS).batch if padded else batch
        results.append(train_step(network, optimizer, batch, torch.float32, "all", None))
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].norm == pytest.approx(results[1].norm, rel=1e-5)


@needs_gpu
def test_float32_steps_match_the_cpu() -> None:
    _, ours = run(GPU, 50)
    _, theirs = run(torch.device("cpu"), 50)
    apart = [abs(not_none(our.loss) / not_none(their.loss) - 1) for our, their in zip(ours, theirs, strict=True)]
    # AdamW turns rounding of small gradients into steps of full size, so differences grow: two forms of the same sums
    # on one CPU, both float32, were 1e-6 apart after 6 steps and 1.3e-3 after 50.
    assert max(apart[:2]) < 1e-6
    assert max(apart[:6]) < 2e-5
    assert max(apart) < 5e-3
    assert ours[0].norm == pytest.approx(theirs[0].norm, rel=1e-5)


@needs_gpu
def test_recorded_steps_match_plain_steps() -> None:
    expected, reports = run(GPU, 6)
    network = new_network(3).to(GPU)
    optimizer = make_optimizer(dict(network.named_parameters()))
    set_learning_rate(optimizer, 1e-3)
    steps = RecordedSteps(network, optimizer, torch.float32, "all")
    padded = [pad_batch(batch, FULL_ROWS).pin_memory() for batch in batches(6)]
    ours = [steps.launch(batch, n)() for n, batch in enumerate(staged(padded, GPU))]
    for our, their in zip(ours, reports, strict=True):
        assert our.loss == pytest.approx(their.loss, rel=1e-5)
    for weight, expected_weight in zip(network.parameters(), expected.parameters(), strict=True):
        # Six steps of 1e-3; where a gradient is nearly zero, rounding decides which way a step goes.
        assert float((weight - expected_weight).abs().mean()) < 1e-5


@needs_gpu
def test_a_recorded_step_that_is_not_finite_changes_nothing() -> None:
    network = new_network(3).to(GPU)
    optimizer = make_optimizer(dict(network.named_parameters()))
    set_learning_rate(optimizer, 1e-3)
    steps = RecordedSteps(network, optimizer, torch.float32, "all")
    sound, spoilt = some_batch(1, users=3, reviews=60), some_batch(1, users=3, reviews=60)
    spoilt.features[5, 3] = math.nan
    good, bad = (ready(batch).to(GPU) for batch in (sound, spoilt))
    assert steps.launch(good, 1)().loss is not None
    before = [parameter.detach().clone() for parameter in network.parameters()]
    assert steps.launch(bad, 2)().loss is None
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert steps.launch(good, 3)().loss is not None


@needs_gpu
def test_many_bfloat16_steps_follow_those_in_float32() -> None:
    losses = {}
    for dtype in (torch.bfloat16, torch.float32):
        network = new_network(3).to(GPU)
        optimizer = make_optimizer(dict(network.named_parameters()))
        steps = RecordedSteps(network, optimizer, dtype, "all")
        kept = [pad_batch(batch, LARGE_ROWS).pin_memory() for batch in large_batches(40)]
        step_losses = []
        for n, batch in enumerate(staged((kept[n % len(kept)] for n in range(2000)), GPU)):
            set_learning_rate(optimizer, 7e-4 * min(1.0, (n + 1) / 200))
            step_losses.append(steps.launch(batch, n)().loss)
        assert None not in step_losses
        losses[dtype] = torch.tensor(step_losses)
    # The mean over each 200 steps; bfloat16 loses a few hundredths on labels that are learnt by heart.
    rough, exact = (losses[dtype].view(10, 200).mean(1) for dtype in (torch.bfloat16, torch.float32))
    assert float((rough - exact).abs().max()) < 0.08
