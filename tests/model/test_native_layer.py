"""Layers by the native CPU kernels against the plain form in float64: values, states and all gradients."""

import pytest
import torch
from torch import Tensor

from rwkv.model.packing import pack_stream, whole_stream
from rwkv.model.spec import NetworkSpec, StreamSpec
from rwkv.model.state import LayerState, StreamState
from rwkv.model.streams import Stream
from rwkv.ops.cpu.mixers import channel_mix
from rwkv.pytree import map_tensors
from tests.model.test_gpu_layer import CANCELLING, GROUPS, distance, layout, results, stream
from tests.ops.groups import needs_native

pytestmark = needs_native

# Relative to the norm, in float32: sums of a few hundred terms, along a hundred operations.
LIMIT = 1e-5
# Sums of the same terms in another order, by other threads.
THREADS = 1e-6

SPEC = NetworkSpec(streams=(StreamSpec("card_id", 3, 1.5, 0.05),))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(groups: list[str], spec: NetworkSpec) -> None:
    rows = layout(groups)
    x, grad = (normal(seed, len(rows.order), spec.channels) for seed in (3, 4))
    ours = results(stream(spec), x, grad, rows)
    theirs = results(stream(spec).double(), x.double(), grad.double(), rows)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == torch.float32
        # The summands of these biases cancel, so the gradient of their map's weights is the unit.
        unit = theirs[name.removesuffix("bias") + "weight"] if name.endswith(CANCELLING) else expected
        assert distance(ours[name], expected, unit) < LIMIT, name


@pytest.mark.parametrize("name", GROUPS)
def test_layers_match_the_plain_form(name: str) -> None:
    assert_close(GROUPS[name], SPEC)


@pytest.mark.parametrize("rows", [127, 128, 129, 256, 257])
def test_rows_at_the_edges_of_blocks(rows: int) -> None:
    """A block has 128 rows; the source of a row may lie in the previous block, before a run of queries."""
    assert_close(["r" + "q" * (rows - 2) + "r"], SPEC)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (32, 1), (96, 3), (64, 1), (128, 8)])
def test_other_sizes(channels: int, heads: int) -> None:
    streams = (StreamSpec("card_id", 2, 1.7, 0.05),)
    assert_close(GROUPS["mixed"], NetworkSpec(channels=channels, heads=heads, v_rank=3, gate_rank=20, streams=streams))


def test_rows_of_length_zero_match_the_plain_form() -> None:
    """Keys and values of length zero are divided by 1e-12, not by zero."""
    rows = layout(["rqr", "rrr", "rq"])
    x, grad = normal(3, 8, 128), normal(4, 8, 128)
    x[[0, 4, 7]] = torch.tensor([0.0, 0.5, -0.25])[:, None]
    by_dtype = []
    for dtype in (torch.float32, torch.float64):
        weights = stream(NetworkSpec(streams=(StreamSpec("card_id", 1, 1.5, 0.05),)))
        torch.nn.init.zeros_(weights.layers[0].time_mixer.layer_norm.bias)
        by_dtype.append(results(weights.to(dtype), x.to(dtype), grad.to(dtype), rows))
    for name, expected in by_dtype[1].items():
        assert by_dtype[0][name].isfinite().all(), name
        assert distance(by_dtype[0][name], expected) < LIMIT, name


def some_states(seed: int, groups: int) -> StreamState:
    """States of groups, every third of which has no review yet."""
    seen = torch.arange(groups) % 3 > 0
    return [
        LayerState(
            time_shift=normal(seed + layer, groups, 128) * seen[:, None],
            channel_shift=normal(seed + 10 + layer, groups, 128) * seen[:, None],
            wkv=normal(seed + 20 + layer, groups, 4, 32, 32) * seen[:, None, None, None],
            seen=seen,
        )
        for layer in range(3)
    ]


def numbers(state: StreamState) -> Tensor:
    parts = [part for layer in state for part in (layer.time_shift, layer.channel_shift, layer.wkv)]
    return torch.cat([part.double().flatten() for part in parts])


@torch.no_grad()
@pytest.mark.parametrize("name", GROUPS)
def test_layers_continued_from_states_match_the_plain_form(name: str) -> None:
    rows, weights = layout(GROUPS[name]), stream(SPEC)
    x, states = normal(3, len(rows.order), 128), some_states(5, len(GROUPS[name]))
    part = whole_stream(rows, states[0].seen, keeps_states=True)
    out, after = weights.resume(x, part, states)
    exact = map_tensors(lambda x: x.double() if x.is_floating_point() else x, states)
    expected, expected_after = weights.double().resume(x.double(), part, exact)
    assert distance(out, expected) < LIMIT
    assert distance(numbers(after), numbers(expected_after)) < LIMIT


def by_threads(weights: Stream, threads: int) -> dict[str, Tensor]:
    before, rows = torch.get_num_threads(), layout(GROUPS["mixed"])
    torch.set_num_threads(threads)
    try:
        return results(weights, normal(3, len(rows.order), 128), normal(4, len(rows.order), 128), rows)
    finally:
        torch.set_num_threads(before)


def test_threads_change_outputs_not_at_all_and_gradients_by_rounding() -> None:
    one, two, again = (by_threads(stream(SPEC), threads) for threads in (1, 2, 2))
    assert torch.equal(one["out"], two["out"])
    for name, expected in one.items():
        assert distance(two[name], expected) < THREADS, name
        assert torch.equal(two[name], again[name]), f"{name} differs from run to run"


@torch.no_grad()
def test_nan_stays_within_its_group_and_later_rows() -> None:
    rows = layout(["rqr", "rrr", "rq"])
    x = normal(3, 8, 128)
    x[4, 5] = float("nan")
    out = stream(SPEC)(x, rows)
    # Row 3 comes before it in its group.
    assert out.isnan().any(1).tolist() == [False] * 4 + [True, True] + [False] * 2


@torch.no_grad()
@pytest.mark.parametrize("wrong", [-1, 4, 10])
def test_missing_and_later_sources_are_refused(wrong: int) -> None:
    source = torch.arange(10)
    source[3] = wrong
    weights = [torch.ones(32), torch.zeros(32), torch.rand(32), normal(1, 48, 32), normal(2, 32, 48)]
    with pytest.raises(RuntimeError, match="source"):
        channel_mix(normal(3, 10, 32), weights, source)


def test_rows_continued_from_states_refuse_gradients() -> None:
    rows = pack_stream(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool))
    states = some_states(5, 1)
    part = whole_stream(rows, states[0].seen, keeps_states=True)
    out, _ = stream(SPEC).resume(normal(3, 4, 128).requires_grad_(), part, states)
    with pytest.raises(RuntimeError, match="take no gradient"):
        out.sum().backward()
