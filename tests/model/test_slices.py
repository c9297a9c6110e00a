"""Slices of any length give the result of `Network.forward`; only the group that a cut divides has a past."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout, cut_streams
from rwkv.model.slices import ROWS_OF_A_SLICE, encode_rows, run_streams, slices
from rwkv.model.spec import PUBLISHED
from rwkv.vocab import STREAMS
from tests.networks import layouts_of, random_history, random_inputs, recipe_network, small_network

# In probability. Float32 sums in another order; and at float64 a carried state, which is float32 at any rate.
TOLERANCE = 1e-6


def several_users(rows: Sequence[int], cards: int) -> tuple[list[StreamLayout], Tensor]:
    """Layouts and is_query [N] of several users in one batch, who share no entity."""
    histories = [random_history(seed, count, cards) for seed, count in enumerate(rows)]
    entities = {
        stream: torch.cat([ids[stream] + 100 * n for n, (ids, _) in enumerate(histories)]) for stream in STREAMS
    }
    is_query = torch.cat([queries for _, queries in histories])
    return layouts_of(entities, is_query), is_query


def probabilities(outputs: Outputs) -> Tensor:
    """Both predictions of every row [2, N], the curve at times from a second to years."""
    elapsed_s = torch.logspace(0, 8, len(outputs.p_logits), dtype=torch.float64)
    ahead = curve_logits(outputs.w_logits, outputs.ahead_logits, elapsed_s).corrected.sigmoid()
    return torch.stack([ahead, immediate_recall(outputs.p_logits)])


def in_slices(network: Network, inputs: Tensor, layouts: Sequence[StreamLayout], slice_rows: int) -> Tensor:
    x = encode_rows(network, lambda part: inputs[part], len(inputs), slice_rows)
    return run_streams(network, x, cut_streams(layouts, slice_rows))


@torch.no_grad()
def largest_difference(network: Network, layouts: list[StreamLayout], slice_rows: int) -> float:
    """The largest difference in probability between slices of a length and the whole batch."""
    inputs = random_inputs(3, len(layouts[0].order))
    x = in_slices(network, inputs, layouts, slice_rows)
    whole = probabilities(network(inputs, layouts))
    assert whole.std(1).min() > 1e-3  # rows that all say the same would hide a difference
    return float((probabilities(network.read_out(x)) - whole).abs().max())


@pytest.mark.parametrize("slice_rows", [1, 2, 7, 16, 50, 131, 132, ROWS_OF_A_SLICE])
def test_slices_of_any_length_equal_the_whole(slice_rows: int) -> None:
    layouts, _ = several_users([60, 1, 71], cards=9)
    assert largest_difference(small_network().double(), layouts, slice_rows) < TOLERANCE


@pytest.mark.parametrize("slice_rows", [1, 7, 16, ROWS_OF_A_SLICE])
def test_slices_of_the_published_network_equal_the_whole(slice_rows: int) -> None:
    layouts, _ = several_users([23, 18], cards=4)
    assert largest_difference(recipe_network(PUBLISHED), layouts, slice_rows) < TOLERANCE


def test_the_layouts_have_every_kind_of_cut() -> None:
    """Slices of 7 cut within and between groups, around query rows, and before a group's first review."""
    layouts, is_query = several_users([60, 1, 71], cards=9)
    kinds = set()
    for layout in layouts:
        queried = is_query[layout.order]
        for cut in range(7, len(queried), 7):
            within = bool(layout.group[cut - 1] == layout.group[cut])
            unseen = within and int(layout.previous_review[cut]) == -1
            kinds.add((within, unseen, bool(queried[cut - 1]), bool(queried[cut])))
    assert {kind for kind in kinds if kind[0]} == {
        *((True, False, before, after) for before in (False, True) for after in (False, True)),
        (True, True, True, False),
        (True, True, True, True),
    }
    assert any(not within for within, *_ in kinds)


def test_without_carried_states_slices_differ_from_the_whole() -> None:
    """The comparison would detect a lost state: rows after the first cut differ when run alone."""
    layouts, is_query = several_users([60], cards=9)
    inputs = random_inputs(3, 60)
    network = small_network()
    entity = torch.zeros(30, dtype=torch.int64)
    alone = layouts_of(dict.fromkeys(STREAMS, entity), is_query[30:])
    with torch.no_grad():
        x = in_slices(network, inputs[30:], alone, ROWS_OF_A_SLICE)
        lost = probabilities(network.read_out(x)) - probabilities(network(inputs, layouts))[:, 30:]
    assert lost.abs().max() > 100 * TOLERANCE


def test_inputs_are_requested_slice_by_slice() -> None:
    inputs = random_inputs(3, 20)
    asked = []

    def encode(part: slice) -> Tensor:
        asked.append((part.start, part.stop))
        return inputs[part]

    x = encode_rows(small_network(), encode, 20, 8)
    assert asked == [(0, 8), (8, 16), (16, 20)]
    assert x.shape == (20, small_network().spec.channels)
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(0, []), (3, [slice(0, 3)]), (4, [slice(0, 4)]), (9, [slice(0, 4), slice(4, 8), slice(8, 9)])],
)
def test_slices_cover_all_rows(rows: int, expected: list[slice]) -> None:
    assert slices(rows, 4) == expected
