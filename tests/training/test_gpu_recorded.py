"""One recorded step serves all batches of its size: losses and gradients equal those of plain steps."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch, pad_batch
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import OPTIMIZERS, make_optimizer, set_learning_rate
from rwkv.training.step import StepReport, clipped_gradients, read_report, train_step
from tests.model.test_gpu_layer import distance
from tests.networks import recipe_network
from tests.ops.gpu import needs_gpu
from tests.training.learners import some_batch

GPU = torch.device("cuda")

# Groups of a few rows; and some of so many that their runs are scanned in two levels. Rows of a full batch, and two
# batches: (seed, users, reviews).
PAIRS = {"short": (800, (1, 3, 60), (8, 4, 45)), "long": (8000, (1, 2, 1000), (8, 3, 670))}
NAMES = pytest.mark.parametrize("name", PAIRS)

# Relative. The rows that fill up a batch move the borders of the blocks that are added up: in float32 rounding, of
# which a sum that nearly cancels shows most; in bfloat16 less than its own distance from float64, 0.03 in all.
LOSS = {torch.float32: 1e-6, torch.bfloat16: 2e-3}
TOGETHER = {torch.float32: 1e-5, torch.bfloat16: 0.05}
ALONE = 1e-4
# Of what a step changes. AdamW's first step is the sign of a gradient, which rounding may turn where it is near 0: for
# one weight in 400 at most. Muon's products are in bfloat16.
CHANGE = 0.1


def pair(name: str) -> tuple[list[Batch], list[PaddedBatch]]:
    full_rows, *described = PAIRS[name]
    batches = [some_batch(seed, users=users, reviews=reviews) for seed, users, reviews in described]
    return batches, [pad_batch(batch, full_rows) for batch in batches]


@NAMES
def test_the_batches_have_one_size_and_different_groups(name: str) -> None:
    batches, padded = pair(name)
    assert padded[0].sizes == padded[1].sizes
    for ours, theirs in zip(*(batch.layouts for batch in batches), strict=True):
        assert ours.groups.groups != theirs.groups.groups
    plans = [[layout.groups.runs for layout in batch.batch.layouts] for batch in padded]
    for ours, theirs in zip(*plans, strict=True):
        assert not torch.equal(ours.runs, theirs.runs)
    assert any(len(layout.groups.runs.spans) for layout in batches[0].layouts) == (name == "long")


Step = tuple[StepReport, dict[str, Tensor]]


def plain_step(network: Network, batch: Batch, dtype: torch.dtype, seed: int) -> Step:
    network.zero_grad(set_to_none=True)
    masks = DropoutMasks(torch.tensor([seed], device=GPU))
    report = read_report(clipped_gradients(network, batch.to(GPU), dtype, "all", masks))
    return report, gradients(network)


def gradients(network: Network) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def together(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in gradients.values()])


@needs_gpu
@NAMES
@pytest.mark.parametrize("dtype", LOSS)
def test_one_recording_serves_different_batches(name: str, dtype: torch.dtype) -> None:
    batches, padded = pair(name)
    network = recipe_network(PUBLISHED).to(GPU)
    # At the rate 0 a step leaves its gradients and changes no weight.
    steps = RecordedSteps(network, make_optimizer(dict(network.named_parameters())), dtype, "all")
    others = recipe_network(PUBLISHED).to(GPU)
    for seed, which in enumerate((0, 1, 0, 1)):
        ours = steps.launch(padded[which].to(GPU), seed)()
        theirs, expected = plain_step(others, batches[which], dtype, seed)
        computed = gradients(network)
        assert ours.loss == pytest.approx(theirs.loss, rel=LOSS[dtype])
        assert computed.keys() == expected.keys()
        assert distance(together(computed), together(expected)) < TOGETHER[dtype]
        if dtype == torch.float32:
            for parameter, gradient in expected.items():
                assert distance(computed[parameter], gradient) < ALONE, parameter
    assert len(steps._recordings) == 1
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), others.parameters(), strict=True))


@needs_gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_recorded_step_equals_a_plain_one_and_changes_nothing_if_not_finite(name: str) -> None:
    batches, padded = pair("short")
    recorded, plain = (recipe_network(PUBLISHED).to(GPU) for _ in range(2))
    before = weights(recorded)
    optimizers = [make_optimizer(dict(network.named_parameters()), name) for network in (recorded, plain)]
    for optimizer in optimizers:
        set_learning_rate(optimizer, 1e-3)
    steps = RecordedSteps(recorded, optimizers[0], torch.float32, "all")
    steps.launch(padded[0].to(GPU), 1)()
    train_step(plain, optimizers[1], batches[0].to(GPU), torch.float32, "all", DropoutMasks(torch.tensor([1]).to(GPU)))
    assert distance(weights(recorded) - before, weights(plain) - before) < CHANGE

    before, state = weights(recorded), averages(optimizers[0].state_dict())
    broken = replace(batches[1], features=torch.full_like(batches[1].features, torch.nan))
    assert steps.launch(pad_batch(broken, PAIRS["short"][0]).to(GPU), 2)().loss is None
    assert torch.equal(weights(recorded), before)
    assert torch.equal(averages(optimizers[0].state_dict()), state)
    assert steps.launch(padded[1].to(GPU), 3)().loss is not None
    assert not torch.equal(weights(recorded), before)
    assert len(steps._recordings) == 1


@needs_gpu
def test_later_sizes_launch_only_kernels_that_the_first_has_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are recorded without a warm-up, and no kernel may be compiled within a recording."""
    from triton.runtime.jit import JITFunction  # Triton exists only with a GPU

    launched: set[int] = set()
    run = JITFunction.run

    def noted(self: JITFunction, *args: Any, **options: Any) -> Any:
        kernel = run(self, *args, **options)
        launched.add(id(kernel))
        return kernel

    monkeypatch.setattr(JITFunction, "run", noted)
    network = recipe_network(PUBLISHED).to(GPU)
    steps = RecordedSteps(network, make_optimizer(dict(network.named_parameters())), torch.bfloat16, "all")
    steps.launch(pair("short")[1][0].to(GPU), 0)()
    of_first = set(launched)
    for padded in (pair("long")[1][0], pad_batch(some_batch(1, users=1, reviews=20), 1000)):
        launched.clear()
        assert steps.launch(padded.to(GPU), 0)().loss is not None
        assert launched <= of_first
    assert len(steps._recordings) == 3


def weights(network: Network) -> Tensor:
    return together({name: weight.detach().clone() for name, weight in network.named_parameters()})


def averages(state: dict[str, Any]) -> Tensor:
    return torch.cat([x.clone().flatten() for kept in state["state"].values() for x in kept.values()])
