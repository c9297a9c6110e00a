"""A few rows by the native kernel equal `Network.step`, with the same weights and states."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.model.heads import joined
from rwkv.model.native_step import (
    FewRows,
    flat_state,
    join_states,
    packed_network,
    split_states,
    state_size,
    unflat_state,
)
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.native.library import is_built
from rwkv.ops.backend import Kernels
from rwkv.ops.cpu.network_step import network_step
from tests.networks import NATIVE, native_network, random_inputs, recipe_network, small_network

# Every rank in turn is the widest of all that a linear map makes.
WIDE = [replace(NATIVE, **{name: 300}) for name in ("decay_rank", "a_rank", "v_rank", "gate_rank")]
NETWORKS = {"published": recipe_network(PUBLISHED), "native": native_network(), "small": small_network()}

# Float32 sums in another order, relative to the largest number: errors of single sums are some 1e-7, and 16 layers and
# the products of the heads pass them on. Against float64 both forms are equally far off.
TOLERANCE = 5e-6

ALL, NONE, SOME = [True] * 5, [False] * 5, [True, False, True, False, True]


def random_states(network: Network, seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    sizes = [state_size(network.spec, stream) for stream in network.spec.streams]
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


@pytest.mark.parametrize("seen", [ALL, NONE, SOME], ids=["all", "none", "some"])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_step(name: str, rows: int, seen: list[bool]) -> None:
    network = NETWORKS[name]
    inputs, writes = random_inputs(rows, rows), min(rows, 2)
    before = random_states(network, 7)
    # Whatever the memory holds, a state without review is empty.
    known = [state if is_seen else torch.zeros_like(state) for state, is_seen in zip(before, seen, strict=True)]
    expected, states = by_step(network, inputs, known, seen)
    given = [state if is_seen else None for state, is_seen in zip(before, seen, strict=True)]
    outputs, after = FewRows(network)(inputs, given, writes)
    assert relative_difference(outputs, expected) < TOLERANCE
    for ours, theirs in zip(after, states, strict=True):
        assert relative_difference(ours, theirs[-writes:]) < TOLERANCE


@pytest.mark.parametrize("spec", WIDE, ids=["decay", "a", "v", "gate"])
def test_ranks_may_be_wider_than_the_channels(spec: NetworkSpec) -> None:
    network = recipe_network(spec)
    inputs, before = random_inputs(6, 3), random_states(network, 6)
    expected, states = by_step(network, inputs, before, ALL)
    outputs, after = FewRows(network)(inputs, before, 1)
    assert relative_difference(outputs, expected) < TOLERANCE
    for ours, theirs in zip(after, states, strict=True):
        assert relative_difference(ours, theirs[-1:]) < TOLERANCE


@pytest.mark.skipif(not is_built(), reason="the native kernels are not built")
def test_the_kernel_is_used() -> None:
    assert {name: (network.backend.kernels is Kernels.NATIVE) for name, network in NETWORKS.items()} == {
        "published": True,
        "native": True,
        "small": False,  # its heads have 8 channels
    }
    assert recipe_network(NETWORKS["native"].spec).to(torch.bfloat16).backend.kernels is Kernels.PLAIN


def test_the_initial_state_is_not_changed() -> None:
    network = NETWORKS["native"]
    before = random_states(network, 3)
    copies = [state.clone() for state in before]
    FewRows(network)(random_inputs(3, 2), before, 1)
    assert all(torch.equal(state, copy) for state, copy in zip(before, copies, strict=True))


def test_a_row_does_not_depend_on_those_beside_it() -> None:
    """The query row and the review row run in one pass, each as if alone."""
    network = NETWORKS["native"]
    run, before, inputs = FewRows(network), random_states(network, 4), random_inputs(4, 2)
    both, after = run(inputs, before, 1)
    query, none = run(inputs[:1], before, 0)
    review, alone = run(inputs[1:], before, 1)
    assert relative_difference(both, torch.cat([query, review])) < TOLERANCE
    assert all(len(state) == 0 for state in none)
    for state, other in zip(after, alone, strict=True):
        assert relative_difference(state, other) < TOLERANCE


def test_states_are_joined_and_split() -> None:
    """Joined states equal the flat ones of all entities; those of no entities are empty."""
    generator = torch.Generator().manual_seed(3)
    for stream in PUBLISHED.streams:
        own = [torch.randn(1, state_size(PUBLISHED, stream), generator=generator) for _ in range(3)]
        states = [own[0], None, *own[1:]]
        joined = join_states(states, torch.device("cpu"), PUBLISHED, stream)
        assert [bool(seen) for seen in joined[0].seen] == [True, False, True, True]
        whole = torch.cat([torch.zeros_like(own[0]) if state is None else state for state in states])
        assert torch.equal(flat_state(joined), whole)
        split = split_states(joined)
        assert torch.equal(torch.cat(split), whole)
        assert all(state.untyped_storage().nbytes() == 4 * state.numel() for state in split)


def test_flat_states_round_trip() -> None:
    spec = NETWORKS["native"].spec
    for stream in spec.streams:
        flat = torch.randn(3, state_size(spec, stream), generator=torch.Generator().manual_seed(1))
        seen = torch.tensor([True, False, True])
        state = unflat_state(flat, seen, spec, stream)
        assert torch.equal(flat_state(state), flat)
        assert all(layer.wkv.shape == (3, spec.heads, spec.head_width, spec.head_width) for layer in state)


@pytest.mark.skipif(not is_built(), reason="the native kernels are not built")
def test_the_kernel_refuses_what_does_not_fit() -> None:
    network = NETWORKS["native"]
    flat, before, inputs = packed_network(network), random_states(network, 5), random_inputs(5, 2)
    cut = type(flat)(flat.weights[:-16], flat.sizes)
    more = type(flat)(np.append(flat.weights, flat.weights[:1]), flat.sizes)
    for broken, problem in ((cut, "few"), (more, "many")):
        with pytest.raises(RuntimeError, match=f"the flat weights are too {problem} for these sizes"):
            network_step(broken, inputs, before, ALL, 1)
    with pytest.raises(RuntimeError, match="writes"):
        network_step(flat, inputs, before, ALL, 3)
    with pytest.raises(RuntimeError, match="inputs"):
        network_step(flat, inputs[:, :-1].contiguous(), before, ALL, 1)
    with pytest.raises(RuntimeError, match="a state"):
        network_step(flat, inputs, [before[0][:, 1:].contiguous(), *before[1:]], ALL, 1)
