"""Muon: against torch's Muon, the singular values of its updates, skipped weights, and falling loss."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rwkv.training.adamw import AdamW
from rwkv.training.muon import MATRIX_GROUPS, Muon, orthogonalised
from rwkv.training.optimizer import GROUPS
from rwkv.training.step import batch_loss, train_step
from tests.networks import small_network
from tests.training.learners import dropout_masks, optimizer_of, some_batch

# What five iterations make of singular values that are not tiny, with some room for rounding.
LEAST, MOST = 0.6, 1.3

SHAPES = [(16, 16), (24, 16), (16, 24), (16, 16), (24, 16)]
RATE, DECAY = 0.02, 0.1


def random_matrices(seed: int, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng) for shape in shapes]


@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_singular_values_come_near_1_and_vectors_stay(seed: int, shape: tuple[int, ...], scale: float) -> None:
    (x,) = random_matrices(seed, [shape])
    left, values, right = torch.linalg.svd(x.double(), full_matrices=False)
    diagonalised = left.mT @ orthogonalised(scale * x).double() @ right.mT
    sizes = torch.diagonal(diagonalised, dim1=-2, dim2=-1)
    # Smaller ones have not come so far.
    large = values > 0.05 * values.amax(-1, keepdim=True)
    assert (sizes[large] > LEAST).all()
    assert (sizes < MOST).all()
    # Single precision, through 15 products that double it or less.
    assert (diagonalised - torch.diag_embed(sizes)).abs().max() < 1e-3


def test_zero_momentum_gives_a_zero_update() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def groups_of(weights: list[Tensor], others: list[Tensor]) -> list[dict[str, object]]:
    members = {"decay": weights[:3], "channel_mixer": weights[3:], "other": others}
    return [{"params": members.get(name, []), "weight_decay": DECAY, "name": name} for name in GROUPS]


def make(weights: list[Tensor], others: list[Tensor], rate: float | Tensor = RATE) -> Muon:
    return Muon(groups_of(weights, others), rate)


def give_gradients(weights: list[Tensor], seed: int) -> None:
    for weight, gradient in zip(weights, random_matrices(seed, [tuple(w.shape) for w in weights]), strict=True):
        weight.grad = gradient


def parameters(seed: int = 1) -> tuple[list[Tensor], list[Tensor]]:
    """Matrices of the mixers, and others."""
    made = [weight.requires_grad_() for weight in random_matrices(seed, [*SHAPES, (16,), (24, 16)])]
    return made[: len(SHAPES)], made[len(SHAPES) :]


def test_steps_are_those_of_torchs_muon_and_of_adamw_for_the_rest() -> None:
    (ours, our_rest), (theirs, their_rest) = parameters(), parameters()
    before = [w.detach().clone() for w in ours]
    optimizer = make(ours, our_rest)
    expected = torch.optim.Muon(theirs, lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    rest = AdamW([{"params": their_rest, "weight_decay": DECAY}], RATE)
    for n in range(4):
        for weights in (ours + our_rest, theirs + their_rest):
            give_gradients(weights, n)
        optimizer.step()
        expected.step()
        rest.step()
    for start, one, other in zip(before, ours, theirs, strict=True):
        # torch's own multiplies in bfloat16, 8 bits, 15 products deep; a step is 0.02 * 0.2 * sqrt(24) at most.
        assert (one - other).norm() < 0.05 * (other - start).norm()
    assert all(torch.equal(one, other) for one, other in zip(our_rest, their_rest, strict=True))


def test_updates_have_the_size_of_adamws() -> None:
    (weights, others), rate = parameters(), 1e-3
    before = [w.detach().clone() for w in weights]
    optimizer = Muon([{**group, "weight_decay": 0.0} for group in groups_of(weights, others)], rate)
    give_gradients(weights + others, 1)
    optimizer.step()
    for start, weight in zip(before, weights, strict=True):
        root_mean_square = float((weight - start).detach().square().mean().sqrt())
        assert LEAST * 0.2 * rate < root_mean_square < MOST * 0.2 * rate


def test_a_matrix_without_a_gradient_stays() -> None:
    weights, others = parameters()
    give_gradients(weights[1:] + others, 1)
    before = weights[0].detach().clone()
    optimizer = make(weights, others)
    optimizer.step()
    assert torch.equal(weights[0], before)
    assert weights[0] not in optimizer.state


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0])
def test_a_step_with_infinite_gradients_changes_nothing(value: float) -> None:
    """In the form of recorded steps, which also runs on a CPU."""
    weights = [weight for part in parameters() for weight in part]
    optimizer = make(weights[: len(SHAPES)], weights[len(SHAPES) :], torch.tensor(RATE))
    optimizer.found_inf = torch.zeros(())
    give_gradients(weights, 1)
    optimizer.step()
    before = [x.detach().clone() for w in weights for x in (w, *optimizer.state[w].values())]
    for weight in weights:
        weight.grad = torch.full_like(weight, value)
    optimizer.found_inf.fill_(1)
    optimizer.step()
    after = [x for w in weights for x in (w, *optimizer.state[w].values())]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    optimizer.found_inf.zero_()
    give_gradients(weights, 2)
    optimizer.step()
    assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_reads_no_tensor_on_the_host(device: str) -> None:
    """Muon's own part runs on meta tensors, which raise an error when they are read."""
    fake = FakeTensorMode()
    with fake:
        weights = [torch.zeros(shape, device=device, requires_grad=True) for shape in SHAPES]
    optimizer = make(weights, [], torch.tensor(RATE))
    with fake:
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=device)
        optimizer.found_inf = torch.zeros((), device=device)
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        assert all(x.device.type == device for weight in weights for x in optimizer.state[weight].values())


def test_muon_lowers_the_loss_like_adamw() -> None:
    fallen = {name: _fall(name) for name in ("adamw", "muon")}
    assert fallen["adamw"] > 0.05
    assert fallen["muon"] > 0.05


def _fall(name: str) -> float:
    network, batch = small_network(), some_batch()
    optimizer = optimizer_of(network, name=name)

    def loss() -> float:
        with torch.no_grad():
            return float(batch_loss(network, batch, torch.float32, "all", None).total)

    before = loss()
    for n in range(8):
        train_step(network, optimizer, batch, torch.float32, "all", dropout_masks(n))
    return before - loss()


def test_the_mixers_matrices_learn_by_momentum_and_nothing_else() -> None:
    network = small_network()
    optimizer = optimizer_of(network, name="muon")
    train_step(network, optimizer, some_batch(), torch.float32, "all", dropout_masks())
    assert isinstance(optimizer, Muon)
    by_momentum = {
        name for name, weight in network.named_parameters() if "momentum_buffer" in optimizer.state.get(weight, {})
    }
    is_matrix: Callable[[str], bool] = lambda name: name.startswith("rwkv_modules") and ".W_" in name  # noqa: E731
    assert by_momentum == {name for name, _ in network.named_parameters() if is_matrix(name)}
    assert {g["name"] for g in optimizer.param_groups if "momentum" in g} == set(MATRIX_GROUPS)
