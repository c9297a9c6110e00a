"""The whole network by one native call equals `Network.step` row by row, with the same weights and states."""

from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.arrays import Float32s
from rwkv.model.flat_states import flat_state, unflat_state
from rwkv.model.heads import joined
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.model.state import StreamState
from rwkv.native.network import network_rows
from tests.model.test_runners import TOLERANCE, relative_difference
from tests.networks import native_network, packed_network, random_inputs, recipe_network
from tests.ops.groups import needs_native

pytestmark = needs_native

NETWORKS = {"published": recipe_network(PUBLISHED), "native": native_network()}
# The groups of 12 rows in each stream: several, one, and some whose only rows are queries.
GROUPS = np.array(
    [
        [0, 1, 0, 0, 2, 2, 1, 3, 0, 2, 2, 4],
        [0] * 12,
        [2, 1, 2, 2, 0, 0, 1, 0, 2, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0],
        [0] * 12,
    ]
)
IS_QUERY = np.array([0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0], bool)


def states_before(network: Network, groups: np.ndarray) -> list[list[Float32s | None]]:
    """A state for every second group of each stream."""
    rng = np.random.default_rng(5)
    sizes = [network.spec.state_size(stream) for stream in network.spec.streams]
    return [
        [
            (0.3 * rng.standard_normal((1, size))).astype(np.float32) if group % 2 else None
            for group in range(own.max() + 1)
        ]
        for own, size in zip(groups, sizes, strict=True)
    ]


@torch.no_grad()
def row_by_row(
    network: Network, inputs: Tensor, before: list[list[Float32s | None]]
) -> tuple[Tensor, list[list[Tensor]]]:
    """The outputs, and the states after the rows; those of groups without a review are zero."""
    empty = network.empty_states(1)
    known = [
        [none if state is None else unflat(torch.from_numpy(state), network, place) for state in states]
        for place, (states, none) in enumerate(zip(before, empty, strict=True))
    ]
    outputs = []
    for row, group in enumerate(GROUPS.T):
        states = [known[stream][number] for stream, number in enumerate(group)]
        output, after = network.step(inputs[row : row + 1], states)
        outputs.append(joined(output))
        if not IS_QUERY[row]:
            for stream, number in enumerate(group):
                known[stream][number] = after[stream]
    return torch.cat(outputs), [[flat_state(state) for state in states] for states in known]


def unflat(state: Tensor, network: Network, place: int) -> StreamState:
    return unflat_state(state, torch.tensor([True]), network.spec, network.spec.streams[place])


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_network_row_by_row(name: str) -> None:
    network = NETWORKS[name]
    inputs, before = random_inputs(8, len(IS_QUERY)), states_before(network, GROUPS)
    expected, expected_after = row_by_row(network, inputs, before)
    outputs, after = network_rows(packed_network(network), inputs.numpy(), IS_QUERY, GROUPS, before, True, 2)
    assert relative_difference(torch.from_numpy(outputs), expected) < TOLERANCE
    for ours, theirs in zip(after, expected_after, strict=True):
        for state, other in zip(ours, theirs, strict=True):
            assert float((torch.from_numpy(state) - other).abs().max()) < TOLERANCE * max(1.0, float(other.abs().max()))


def test_rows_that_fill_blocks_depend_on_no_thread_and_on_no_cut() -> None:
    """Three blocks of rows at once equal the same rows in two calls, the second of which continues from the states."""
    network = packed_network(NETWORKS["native"])
    rng = np.random.default_rng(3)
    inputs, is_query = random_inputs(9, 300).numpy(), rng.random(300) < 0.4
    groups = np.stack([rng.integers(0, count, 300) for count in (40, 3, 20, 2, 1)])
    nothing: list[list[Float32s | None]] = [[None] * count for count in (40, 3, 20, 2, 1)]
    whole, after = network_rows(network, inputs, is_query, groups, nothing, True, 1)
    again, after_again = network_rows(network, inputs, is_query, groups, nothing, True, 3)
    assert np.array_equal(whole, again)
    assert all(map(np.array_equal, chain(*after), chain(*after_again)))

    cut = 170
    first, between = network_rows(network, inputs[:cut], is_query[:cut], groups[:, :cut].copy(), nothing, True, 2)
    seen = [
        [state if (~is_query[:cut] & (own[:cut] == number)).any() else None for number, state in enumerate(states)]
        for own, states in zip(groups, between, strict=True)
    ]
    second, end = network_rows(network, inputs[cut:], is_query[cut:], groups[:, cut:].copy(), seen, True, 2)
    assert np.abs(np.concatenate([first, second]) - whole).max() < TOLERANCE * np.abs(whole).max()
    for state, expected in zip(chain(*end), chain(*after), strict=True):
        assert np.abs(state - expected).max() < TOLERANCE * max(1.0, np.abs(expected).max())


def test_states_that_are_not_kept_are_not_returned() -> None:
    network = NETWORKS["native"]
    packed, inputs, before = packed_network(network), random_inputs(8, len(IS_QUERY)), states_before(network, GROUPS)
    kept, _ = network_rows(packed, inputs.numpy(), IS_QUERY, GROUPS, before, True, 1)
    outputs, after = network_rows(packed, inputs.numpy(), IS_QUERY, GROUPS, before, False, 1)
    assert np.array_equal(outputs, kept)
    assert after == [[], [], [], [], []]
