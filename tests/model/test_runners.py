"""What runs a network for the engine: both runners equal `Network.step`, with the same weights and states."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.arrays import Float32s
from rwkv.model.checkpoint import weights_of
from rwkv.model.columns import KEPT_COLUMNS
from rwkv.model.flat_states import flat_state, unflat_state
from rwkv.model.heads import joined
from rwkv.model.native_runner import NativeRunner
from rwkv.model.network import Network
from rwkv.model.runner import Runner, StatesAfter
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.torch_runner import TorchRunner
from rwkv.native.step import network_step
from rwkv.vocab import STREAMS
from tests.networks import (
    NATIVE,
    native_network,
    packed_network,
    random_history,
    random_inputs,
    recipe_network,
    runner_for,
    small_network,
)
from tests.ops.groups import needs_native

MakeRunner = Callable[[Network], Runner]
RUNNERS = pytest.mark.parametrize("make", [runner_for, TorchRunner], ids=["fastest", "torch"])

# Every rank in turn is the widest of all that a linear map makes.
WIDE = [
    replace(NATIVE, decay_rank=300),
    replace(NATIVE, a_rank=300),
    replace(NATIVE, v_rank=300),
    replace(NATIVE, gate_rank=300),
]
NETWORKS = {"published": recipe_network(PUBLISHED), "native": native_network(), "small": small_network()}

# Float32 sums in another order, relative to the largest number: errors of single sums are some 1e-7, and 16 layers and
# the products of the heads pass them on. Against float64 both forms are equally far off.
TOLERANCE = 5e-6

ALL, NONE, SOME = [True] * 5, [False] * 5, [True, False, True, False, True]


def random_states(network: Network, seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    sizes = [network.spec.state_size(stream) for stream in network.spec.streams]
    return [0.3 * torch.randn(1, size, generator=rng) for size in sizes]


@torch.no_grad()
def by_step(network: Network, inputs: Tensor, before: list[Tensor], seen: list[bool]) -> tuple[Tensor, list[Tensor]]:
    """Outputs [N, 2 * curves + 4] and states after each row."""
    rows, spec = len(inputs), network.spec
    states = [
        unflat_state(flat.expand(rows, -1), torch.full((rows,), known), spec, stream)
        for flat, known, stream in zip(before, seen, spec.streams, strict=True)
    ]
    outputs, after = network.step(inputs, states)
    return joined(outputs), [flat_state(state) for state in after]


def relative_difference(ours: Tensor, expected: Tensor) -> float:
    assert ours.shape == expected.shape
    return float((ours - expected).abs().max() / expected.abs().max())


def run_few(
    runner: Runner, inputs: Tensor, before: Sequence[Tensor | None], writes: int
) -> tuple[Tensor, list[Tensor]]:
    """The runner's results as tensors."""
    states = [None if state is None else state.numpy() for state in before]
    outputs, after = runner.few_rows(inputs.numpy(), states, writes)
    return torch.from_numpy(outputs), [torch.from_numpy(state) for state in after]


@pytest.mark.parametrize("seen", [ALL, NONE, SOME], ids=["all", "none", "some"])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", NETWORKS)
@RUNNERS
def test_few_rows_equal_step(make: MakeRunner, name: str, rows: int, seen: list[bool]) -> None:
    network = NETWORKS[name]
    inputs, writes = random_inputs(rows, rows), min(rows, 2)
    before = random_states(network, 7)
    # Whatever the memory holds, a state without review is empty.
    known = [state if is_seen else torch.zeros_like(state) for state, is_seen in zip(before, seen, strict=True)]
    expected, states = by_step(network, inputs, known, seen)
    given = [state if is_seen else None for state, is_seen in zip(before, seen, strict=True)]
    outputs, after = run_few(make(network), inputs, given, writes)
    assert relative_difference(outputs, expected) < TOLERANCE
    for ours, theirs in zip(after, states, strict=True):
        assert relative_difference(ours, theirs[-writes:]) < TOLERANCE


@pytest.mark.parametrize("spec", WIDE, ids=["decay", "a", "v", "gate"])
def test_ranks_may_be_wider_than_the_channels(spec: NetworkSpec) -> None:
    network = recipe_network(spec)
    inputs, before = random_inputs(6, 3), random_states(network, 6)
    expected, states = by_step(network, inputs, before, ALL)
    outputs, after = run_few(runner_for(network), inputs, list(before), 1)
    assert relative_difference(outputs, expected) < TOLERANCE
    for ours, theirs in zip(after, states, strict=True):
        assert relative_difference(ours, theirs[-1:]) < TOLERANCE


@needs_native
def test_the_kernels_run_what_they_support() -> None:
    assert {name: type(runner_for(network)) for name, network in NETWORKS.items()} == {
        "published": NativeRunner,
        "native": NativeRunner,
        "small": TorchRunner,  # its heads have 8 channels
    }


@RUNNERS
def test_the_initial_state_is_not_changed(make: MakeRunner) -> None:
    network = NETWORKS["native"]
    before = random_states(network, 3)
    copies = [state.clone() for state in before]
    run_few(make(network), random_inputs(3, 2), list(before), 1)
    assert all(torch.equal(state, copy) for state, copy in zip(before, copies, strict=True))


@RUNNERS
def test_a_row_does_not_depend_on_those_beside_it(make: MakeRunner) -> None:
    """The query row and the review row run in one pass, each as if alone."""
    network = NETWORKS["native"]
    runner, before, inputs = make(network), list(random_states(network, 4)), random_inputs(4, 2)
    both, after = run_few(runner, inputs, before, 1)
    query, none = run_few(runner, inputs[:1], before, 0)
    review, alone = run_few(runner, inputs[1:], before, 1)
    assert relative_difference(both, torch.cat([query, review])) < TOLERANCE
    assert all(len(state) == 0 for state in none)
    for state, other in zip(after, alone, strict=True):
        assert relative_difference(state, other) < TOLERANCE


@needs_native
@pytest.mark.parametrize("ratings_only", [False, True])
def test_both_runners_agree_on_many_rows(ratings_only: bool) -> None:
    network = NETWORKS["native"]
    entities, is_query = random_history(5, 60)
    inputs, numbers = random_inputs(5, 60).numpy(), torch.stack(list(entities.values()), 1).numpy()
    states = dict(zip(STREAMS, (state.numpy() for state in random_states(network, 8)), strict=True))
    results = []
    for runner in (NativeRunner(weights_of(network)), TorchRunner(network)):
        after: dict[str, StatesAfter] = {}

        def load(stream: str, known: Sequence[int]) -> list[Float32s | None]:
            return [None if number % 2 else states[stream] for number in known]

        def keep(kept: StatesAfter, after: dict[str, StatesAfter] = after) -> None:
            after[kept.stream] = kept

        results.append((runner.many_rows(inputs, is_query.numpy(), numbers, load, keep, ratings_only), after))
    (ours, after), (expected, expected_after) = results
    assert ours.shape == expected.shape == (60, 4 if ratings_only else KEPT_COLUMNS)
    assert np.abs(ours - expected).max() < TOLERANCE * np.abs(expected).max()
    assert list(after) == list(expected_after) == list(STREAMS)
    for stream, kept in after.items():
        assert kept.entities == expected_after[stream].entities
        both = np.concatenate(kept.states), np.concatenate(expected_after[stream].states)
        assert np.abs(both[0] - both[1]).max() < TOLERANCE * np.abs(both[1]).max()


@needs_native
def test_the_kernel_refuses_what_does_not_fit() -> None:
    network = NETWORKS["native"]
    flat, before, inputs = (
        packed_network(network),
        [state.numpy() for state in random_states(network, 5)],
        random_inputs(5, 2).numpy(),
    )
    cut = type(flat)(flat.weights[:-16], flat.sizes)
    more = type(flat)(np.append(flat.weights, flat.weights[:1]), flat.sizes)
    for broken, problem in ((cut, "few"), (more, "many")):
        with pytest.raises(RuntimeError, match=f"the flat weights are too {problem} for these sizes"):
            network_step(broken, inputs, before, ALL, 1)
    with pytest.raises(RuntimeError, match="writes"):
        network_step(flat, inputs, before, ALL, 3)
    with pytest.raises(RuntimeError, match="inputs"):
        network_step(flat, inputs[:, :-1].copy(), before, ALL, 1)
    with pytest.raises(RuntimeError, match="a state"):
        network_step(flat, inputs, [before[0][:, 1:].copy(), *before[1:]], ALL, 1)
