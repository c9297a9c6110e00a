"""One training step: it learns, reaches every weight, clips, and changes nothing if the loss is not finite."""

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rwkv.batches.collate import Batch
from rwkv.model.network import Network
from rwkv.training.optimizer import CLIP_NORM, Optimizer
from rwkv.training.step import StepReport, batch_loss, clipped_gradients, read_report, reports, train_step
from tests.networks import small_network
from tests.training.learners import dropout_masks, optimizer_of, some_batch

FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])

# Without dropout, which would hide what a step brings: no source.
LEARNING_STEPS = 8

Weights = dict[str, Tensor]


def weights_of(network: Network) -> Weights:
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


def is_same(network: Network, weights: Weights) -> bool:
    return all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())


def loss_of(network: Network, batch: Batch, dtype: torch.dtype = torch.float32) -> float:
    with torch.no_grad():
        return float(batch_loss(network, batch, dtype, "all", None).total)


@FLOATS
def test_steps_reduce_the_loss(dtype: torch.dtype) -> None:
    network, batch = small_network(), some_batch()
    optimizer = optimizer_of(network)
    before = loss_of(network, batch)
    reports = [train_step(network, optimizer, batch, dtype, "all", dropout_masks(n)) for n in range(LEARNING_STEPS)]
    assert loss_of(network, batch) < before - 0.05
    assert all(report.loss is not None for report in reports)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}, "the master weights stay float32"


def test_bfloat16_computes_almost_the_same_loss() -> None:
    network, batch = small_network(), some_batch()
    # bfloat16 keeps 8 bits: a few thousandths of logits of size 1, averaged over the rows.
    assert loss_of(network, batch, torch.bfloat16) == pytest.approx(loss_of(network, batch), rel=0.02)
    assert loss_of(network, batch, torch.bfloat16) != loss_of(network, batch)


@FLOATS
def test_gradients_reach_every_parameter_that_is_used(dtype: torch.dtype) -> None:
    """All but the maps of v_mix in each stream's first layer, which does not use them."""
    network = small_network()
    batch_loss(network, some_batch(), dtype, "all", dropout_masks()).total.backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == {
        name for name, _ in network.named_parameters() if ".blocks.0." in name and "v_lora_simple" in name
    }
    assert len(without) == 3 * 5


def test_a_step_is_adamw_on_clipped_gradients() -> None:
    """AdamW's first step moves every weight by the rate along the gradient's sign, after the decay."""
    network, batch, rate = small_network(), some_batch(), 1e-3
    optimizer, before = optimizer_of(network, rate), weights_of(network)
    report = train_step(network, optimizer, batch, torch.float32, "all", dropout_masks())
    assert report.norm > CLIP_NORM, "nothing was to be clipped"
    norm = math.sqrt(sum(float(w.grad.double().square().sum()) for w in network.parameters() if w.grad is not None))
    # Single precision sums.
    assert norm == pytest.approx(CLIP_NORM, rel=1e-4)
    decays = {id(w): group["weight_decay"] for group in optimizer.param_groups for w in group["params"]}
    assert set(decays.values()) == {0.0, 0.01}
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            expected = before[name] * (1 - rate * decays[id(weight)]) - rate * weight.grad.sign()
            # A gradient near eps = 1e-18 moves less; float32 weights of size 1 round by 1e-7.
            clear = weight.grad.abs() > 1e-12
            assert torch.allclose(weight[clear], expected[clear], rtol=0, atol=3e-7)


@FLOATS
def test_gradients_match_backward_and_do_not_share_memory(dtype: torch.dtype) -> None:
    ours, theirs = small_network(), small_network()
    report = read_report(clipped_gradients(ours, some_batch(), dtype, "all", dropout_masks()))
    loss = batch_loss(theirs, some_batch(), dtype, "all", dropout_masks()).total
    loss.backward()
    norm = clip_grad_norm_(theirs.parameters(), CLIP_NORM)
    assert (report.loss, report.norm) == (loss.item(), norm.item())
    gradients, expected = (
        {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
        for network in (ours, theirs)
    )
    assert gradients.keys() == expected.keys()
    assert all(torch.equal(gradient, expected[name]) for name, gradient in gradients.items())
    assert all(gradient.is_contiguous() for gradient in gradients.values())
    places = sorted((gradient.data_ptr(), gradient.data_ptr() + gradient.nbytes) for gradient in gradients.values())
    assert all(stop <= following for (_, stop), (following, _) in pairwise(places))


def test_gradients_below_the_norm_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clipped, free = small_network(), small_network()
    report = step_with(clipped, some_batch())
    monkeypatch.setattr("rwkv.training.step.CLIP_NORM", 2 * report.norm)
    assert step_with(free, some_batch()) == report
    for ours, theirs in zip(free.parameters(), clipped.parameters(), strict=True):
        if ours.grad is not None and theirs.grad is not None:
            assert torch.allclose(ours.grad * (CLIP_NORM / report.norm), theirs.grad, rtol=1e-4, atol=0)


def step_with(network: Network, batch: Batch, optimizer: Optimizer | None = None) -> StepReport:
    return train_step(network, optimizer or optimizer_of(network), batch, torch.float32, "all", dropout_masks())


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    network, batch = small_network(), some_batch()
    optimizer = optimizer_of(network)
    assert step_with(network, batch, optimizer).loss is not None
    before, moments = weights_of(network), [*map(torch.clone, _moments(optimizer))]
    features = batch.features.clone()
    features[0, 0] = math.nan
    report = step_with(network, replace(batch, features=features), optimizer)
    assert report.loss is None
    assert math.isnan(report.norm)
    assert is_same(network, before)
    assert all(torch.equal(now, then) for now, then in zip(_moments(optimizer), moments, strict=True))
    assert step_with(network, batch, optimizer).loss is not None, "the next step is taken"
    assert not is_same(network, before)


def _moments(optimizer: Optimizer) -> list[Tensor]:
    return [value for moments in optimizer.state_dict()["state"].values() for value in moments.values()]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(value: float) -> None:
    """The loss is finite; one parameter's gradient is corrupted by a hook."""
    network, batch = small_network(), some_batch()
    before = weights_of(network)
    network.prehead_norm.weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    report = step_with(network, batch)
    assert report.loss is None
    assert all(math.isfinite(term) for term in report.terms.values())
    assert is_same(network, before)


def test_gradients_of_an_earlier_step_are_cleared() -> None:
    once, twice = small_network(), small_network()
    for weight in twice.parameters():
        weight.grad = torch.ones_like(weight)
    assert step_with(once, some_batch()) == step_with(twice, some_batch())
    assert is_same(twice, weights_of(once))


def test_dropout_comes_from_its_seed_alone() -> None:
    reports = []
    for global_seed, seed in ((1, 1), (2, 1), (1, 2)):
        torch.manual_seed(global_seed)
        network = small_network()
        reports.append(
            train_step(network, optimizer_of(network), some_batch(), torch.float32, "all", dropout_masks(seed))
        )
    assert reports[0] == reports[1] != reports[2]


def test_the_mode_of_the_loss_is_applied() -> None:
    losses = {
        mode: train_step(
            network := small_network(), optimizer_of(network), some_batch(), torch.float32, mode, dropout_masks()
        )
        for mode in ("all", "equalize")
    }
    assert losses["all"].loss != losses["equalize"].loss


def test_the_report_states_the_optimised_loss() -> None:
    weights = {"ahead": 0.5, "imm": 1, "ahead_raw": 0.5, "w": 1e-5, "ahead_logits_mag": 1e-4, "ahead_logits_diff": 1e-3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = step_with(small_network(), some_batch())
    assert report.terms.keys() == weights.keys()
    # Sums in float32.
    assert report.loss == pytest.approx(sum(weights[name] * value for name, value in report.terms.items()), rel=1e-5)


def test_the_report_counts_the_rows_of_the_loss() -> None:
    batch = some_batch()
    labels = replace(batch.labels, has_label=torch.zeros_like(batch.labels.has_label))
    assert step_with(small_network(), batch).rows == int(batch.labels.has_label.sum()) > 0
    without = step_with(small_network(), replace(batch, labels=labels))
    assert (without.rows, without.loss) == (0, 0)


def test_a_report_is_read_when_the_next_step_has_begun_unless_it_settles() -> None:
    seen = []

    def launched() -> Iterator[tuple[int, Callable[[], StepReport]]]:
        for n in range(1, 6):
            seen.append(f"begun {n}")
            yield n, functools.partial(StepReport, float(n), {}, 0.0, 1)

    for n, report in reports(launched(), lambda n: n == 3):
        assert report.loss == n
        seen.append(f"used {n}")
    order = "begun 1, begun 2, used 1, begun 3, used 2, used 3, begun 4, begun 5, used 4, used 5"
    assert seen == order.split(", ")
