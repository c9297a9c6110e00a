"""The network over whole batches and row by row: equal results, no leaks, independent of packing and cuts."""

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from rwkv.model import packing
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.dropout import DropoutMasks, dropout
from rwkv.model.heads import Outputs
from rwkv.model.network import Network, compute_weights
from rwkv.model.packing import pack_stream
from rwkv.model.slices import run_stream
from rwkv.model.spec import PUBLISHED
from rwkv.model.state import StreamState, empty_state
from rwkv.ops.groups import PackedGroups
from tests.networks import (
    SMALL,
    Entities,
    join_states,
    layouts_of,
    random_history,
    random_inputs,
    recipe_network,
    run_recurrently,
    small_network,
)

# The specification's bound between the two forms (spec 7), in probability.
FORMS = 2e-5
# Float32 sums in another order, for the same rows beside others; and the same in float64.
PACKING = 1e-6
EXACT = 1e-12
# What a test calls a change: far above any rounding.
VISIBLE = 1e-3


@lru_cache(maxsize=1)
def network() -> Network:
    return small_network()


@lru_cache(maxsize=1)
def exact_network() -> Network:
    return small_network().double()


def probabilities(outputs: Outputs) -> Tensor:
    """All predictions of a row [N, 8]: ratings, RWKV-P, and RWKV after an hour, a week and a decade."""
    rows = len(outputs.p_logits)
    curves = [
        curve_logits(outputs.w_logits, outputs.ahead_logits, torch.full((rows,), elapsed_s)).corrected.sigmoid()
        for elapsed_s in (3600.0, 604_800.0, 3.2e8)
    ]
    return torch.cat(
        [outputs.p_logits.softmax(-1), torch.stack([immediate_recall(outputs.p_logits), *curves], 1)], dim=1
    )


@torch.no_grad()
def predict(inputs: Tensor, entities: Entities, is_query: Tensor, net: Network | None = None) -> Tensor:
    """Predict by the small network in float64, where rounding hides no effect, or by `net`."""
    return probabilities((net or exact_network())(inputs, layouts_of(entities, is_query)))


def assert_near(ours: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


def rows_of(entities: Entities, rows: Tensor | slice) -> Entities:
    return {stream: entity[rows] for stream, entity in entities.items()}


# --- Two forms


@pytest.mark.parametrize("seed", range(3))
def test_the_parallel_form_equals_the_recurrent_form(seed: int) -> None:
    entities, is_query = random_history(seed, 100)
    inputs = random_inputs(seed, 100)
    recurrent = probabilities(run_recurrently(network(), inputs, entities, is_query))
    assert float(recurrent.std(0).min()) > VISIBLE, "predictions that do not vary prove nothing"
    assert_near(predict(inputs, entities, is_query, network()), recurrent, FORMS)


def test_the_parallel_form_equals_the_recurrent_form_at_the_published_size() -> None:
    published = recipe_network(PUBLISHED, 0.1)
    entities, is_query = random_history(9, 40, cards=5)
    inputs = random_inputs(9, 40)
    recurrent = probabilities(run_recurrently(published, inputs, entities, is_query))
    assert float(recurrent.std(0).min()) > VISIBLE, "predictions that do not vary prove nothing"
    assert_near(predict(inputs, entities, is_query, published), recurrent, FORMS)


@torch.no_grad()
def test_steps_of_many_rows_equal_steps_of_each_row() -> None:
    inputs = random_inputs(4, 6)
    _, states = network().step(random_inputs(5, 6), network().empty_states(6))
    together, _ = network().step(inputs, states)
    for row in range(6):
        row_slice = slice(row, row + 1)
        alone, _ = network().step(inputs[row_slice], [[layer[row_slice] for layer in stream] for stream in states])
        assert_near(probabilities(together)[row_slice], probabilities(alone), PACKING)


# --- No leak from the future


def changed_rows(later: Tensor, earlier: Tensor) -> Tensor:
    """The rows that differ by more than rounding."""
    return ((later - earlier).abs() > EXACT).any(1)


@pytest.mark.parametrize("cut", [1, 37, 99])
def test_later_rows_do_not_affect_earlier_ones(cut: int) -> None:
    """Changing, dropping or regrouping later rows, or making them queries, changes no earlier row."""
    entities, is_query = random_history(3, 100)
    inputs = random_inputs(3, 100)
    before, later = slice(0, cut), torch.arange(100) >= cut
    whole = predict(inputs, entities, is_query)
    other_entities, _ = random_history(77, 100)
    mixed = {stream: torch.where(later, other_entities[stream], entity) for stream, entity in entities.items()}
    for what, changed in {
        "changed": predict(torch.where(later[:, None], -3 * inputs, inputs), entities, is_query),
        "dropped": predict(inputs[before], rows_of(entities, before), is_query[before]),
        "turned": predict(inputs, entities, is_query ^ later),
        "moved": predict(inputs, mixed, is_query),
    }.items():
        assert not changed_rows(changed[before], whole[before]).any(), what


def test_reviews_affect_all_later_rows_and_queries_none() -> None:
    entities, is_query = random_history(3, 100)
    inputs = random_inputs(3, 100)
    whole = predict(inputs, entities, is_query)
    for row in (10, 11, 12, 13, 14, 15):
        louder = inputs.clone()
        louder[row] *= -3
        changed = changed_rows(predict(louder, entities, is_query), whole)
        assert not changed[:row].any()
        assert changed[row]
        if is_query[row]:
            assert not changed[row + 1 :].any()
        else:
            assert changed[row + 1 :].float().mean() > 0.9
    assert is_query[10:16].any()
    assert not is_query[10:16].all()


# --- Packing


@pytest.mark.parametrize(
    ("net", "tolerance"),
    [
        pytest.param(exact_network, EXACT, id="small, float64"),
        pytest.param(lambda: recipe_network(PUBLISHED), PACKING, id="published, float32"),
    ],
)
def test_users_in_one_batch_equal_each_alone(net: Callable[[], Network], tolerance: float) -> None:
    """In any order and of any length, also with alternating rows."""
    tested, sizes = net(), (1, 40, 3, 90)
    users = [(random_inputs(seed, size), *random_history(seed, size)) for seed, size in enumerate(sizes)]
    alone = [predict(*user, tested) for user in users]
    apart = [{stream: entity + 100 * number for stream, entity in user[1].items()} for number, user in enumerate(users)]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        inputs = torch.cat([users[i][0] for i in order])
        entities = {stream: torch.cat([apart[i][stream] for i in order]) for stream in apart[0]}
        is_query = torch.cat([users[i][2] for i in order])
        expected = torch.cat([alone[i] for i in order])
        assert_near(predict(inputs, entities, is_query, tested), expected, tolerance)

        user = torch.cat([torch.full((sizes[i],), i) for i in order])
        turn = torch.cat([torch.arange(sizes[i]) for i in order]) * 4 + user
        turns = turn.argsort()
        shuffled = predict(inputs[turns], rows_of(entities, turns), is_query[turns], tested)
        assert_near(shuffled, expected[turns], tolerance)


@pytest.mark.parametrize("chunk_length", [1, 5, 64])
def test_chunk_length_does_not_matter(chunk_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entities, is_query = random_history(6, 150, cards=4)
    inputs = random_inputs(6, 150)
    usual = predict(inputs, entities, is_query)
    monkeypatch.setattr(packing, "PackedGroups", lambda offsets, query: PackedGroups(offsets, query, chunk_length))
    assert layouts_of(entities, is_query)[0].groups.chunks.chunk_row.shape[1] == chunk_length
    assert_near(predict(inputs, entities, is_query), usual, EXACT)


def test_a_user_with_queries_only_leaves_no_state_and_gets_predictions() -> None:
    entities, is_query = random_history(1, 30)
    inputs, queries = random_inputs(1, 30), torch.ones_like(is_query)
    together = predict(inputs, entities, queries)
    assert torch.isfinite(together).all()
    row_slice = slice(17, 18)
    assert_near(
        together[row_slice], predict(inputs[row_slice], rows_of(entities, row_slice), queries[row_slice]), EXACT
    )


# --- Dropout


def test_dropout_follows_its_seed() -> None:
    entities, is_query = random_history(2, 50)
    inputs, layouts = random_inputs(2, 50), layouts_of(entities, is_query)

    @torch.no_grad()
    def run(seed: int | None) -> Tensor:
        masks = None if seed is None else DropoutMasks(torch.tensor([seed]))
        return torch.cat(network()(inputs, layouts, masks), 1)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert not torch.equal(run(1), run(None))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = run(None)
        torch.manual_seed(1)
        assert torch.equal(run(None), first), "without a source there is none, whatever torch's own randomness"


def test_dropout_keeps_the_mean() -> None:
    dropped = dropout(torch.full((100_000,), 2.0), 0.1, DropoutMasks(torch.tensor([0])))
    assert dropped.unique().tolist() == [0.0, pytest.approx(2 / 0.9)]
    # 100,000 draws: the standard deviation of a share of 0.1 is 0.001.
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.004)


# --- Carrying states over a cut


def states_of(layout: packing.StreamLayout, entity: Tensor, known: dict[int, StreamState], layers: int) -> StreamState:
    """The known states of a layout's groups; empty for unknown ones."""
    groups = entity[layout.order][layout.groups.offsets[:-1]].tolist()
    return join_states([known.get(e, empty_state(layers, 1, SMALL.channels, SMALL.heads)) for e in groups])


@given(seed=st.integers(0, 1000), cut=st.integers(1, 59))
@torch.no_grad()
def test_a_stream_resumed_after_a_cut_equals_the_whole(seed: int, cut: int) -> None:
    """Entities in both halves carry their states over; the others start or end there."""
    entities, is_query = random_history(seed, 60, cards=9)
    entity = entities["card_id"]
    stream = network().streams[0]
    x = torch.randn(60, SMALL.channels, generator=torch.Generator().manual_seed(seed))
    whole = pack_stream(entity, is_query)
    expected = stream(x[whole.order], whole)[whole.inverse]

    known: dict[int, StreamState] = {}
    parts = []
    for part in (slice(0, cut), slice(cut, None)):
        layout = pack_stream(entity[part], is_query[part])
        before = states_of(layout, entity[part], known, len(stream.layers))
        whole_part = packing.whole_stream(layout, before[0].seen, keeps_states=True)
        out, after = run_stream(stream, x[part], [whole_part], before)
        parts.append(out[layout.inverse])
        groups = entity[part][layout.order][layout.groups.offsets[:-1]].tolist()
        known |= {e: [layer[group : group + 1] for layer in after] for group, e in enumerate(groups)}
    # Float32 sums in another order on values of up to 60, whose spacing is 4e-6.
    assert_near(torch.cat(parts), expected, 1e-4)


# --- bfloat16


@torch.no_grad()
def test_bfloat16_is_close_to_float32() -> None:
    """The outputs are finite, float32 from the heads on, and within the rounding of 8 bits."""
    entities, is_query = random_history(8, 120)
    inputs, layouts = random_inputs(8, 120), layouts_of(entities, is_query)
    net = recipe_network(SMALL, 0.2)
    weights = compute_weights(dict(net.named_parameters()), torch.bfloat16)
    assert {name.split(".")[0] for name, weight in weights.items() if weight.dtype == torch.float32} == {
        "w_linear",
        "ahead_linear",
        "p_linear",
    }
    outputs = functional_call(net, weights, (inputs, layouts))
    assert {column.dtype for column in outputs} == {torch.float32}
    assert all(torch.isfinite(column).all() for column in outputs)
    difference = (probabilities(outputs) - probabilities(net(inputs, layouts))).abs()
    # bfloat16 rounds at 2^-9 = 0.002; the roundings of 8 layers and their sums add up at random.
    assert float(difference.max()) < 0.03
    assert float(difference.square().mean().sqrt()) < 0.005


def test_gradients_flow_through_bfloat16_to_float32_weights() -> None:
    entities, is_query = random_history(8, 40)
    net = small_network()
    weights = compute_weights(dict(net.named_parameters()), torch.bfloat16)
    outputs = functional_call(net, weights, (random_inputs(8, 40), layouts_of(entities, is_query)))
    probabilities(outputs).square().sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            assert ".blocks.0.time_mixer.v_lora_simple." in name, "the first layer mixes no v"
        else:
            assert parameter.grad.dtype == torch.float32
            assert torch.isfinite(parameter.grad).all(), name
