"""Layers on a GPU against the plain form in float64: values and all gradients, for groups of all shapes."""

import pytest
import torch
from torch import Tensor

from rwkv.batches.single_buffer import in_single_buffer
from rwkv.model.dropout import DropoutMasks
from rwkv.model.gpu_batch import gpu_batch
from rwkv.model.gpu_encoder import encode_fused
from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.model.slices import run_streams
from rwkv.model.spec import PUBLISHED, NetworkSpec, StreamSpec
from rwkv.model.streams import Stream
from rwkv.ops.backend import Backend, Kernels
from rwkv.ops.dropout import dropout_reference, hash_dropout
from tests.networks import layouts_of, random_history, recipe_network
from tests.ops.gpu import needs_gpu
from tests.ops.triton.stored_rows import plain_inputs, random_rows

pytestmark = needs_gpu

GPU = torch.device("cuda")
# Relative to the norm, sums of a few hundred terms along a hundred operations.
FLOAT32 = 1e-5
# bfloat16 rounds each result at 1.7e-3 in the mean, and sums of gradients with many signs lose more: measured by the
# plain form's own distance from float64, of which this share and this much more is allowed.
SHARE, MORE = 1.5, 0.02
# These have a number a head, whose gradient is a sum over all rows that nearly cancels: its error is anything from 0 to
# 10% of itself in either form (1e-5 in float32). In terms of the gradient of the same map's weight the error is 0.0002
# to 0.003 (1e-7 in float32), and that of a gradient which is missing 0.02 to 0.1.
CANCELLING = ("k_scale_linear.bias", "v_scale_linear.bias")
OF_THE_WEIGHT = 0.01

DTYPES = (torch.float32, torch.bfloat16)

GROUPS = {
    "one row": ["r"],
    "one query": ["q"],
    "single rows": ["r"] * 70,
    "leading queries and tails": ["qqrr" + "q" * 30, "r" + "q" * 70, "qrqrr", "rrr"],
    "many tiny": ["r", "rq", "rqr", "rqrqr"] * 60,
    "one long": ["rqrrq" * 300],
    "mixed": ["rq" * (3 * i + 1) for i in range(20)] + ["r" * 700, "q" * 90],
    "more than persistent programs take at once": ["rq" * 40] * 450,
}


def layout(groups: list[str]) -> StreamLayout:
    entity = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([len(group) for group in groups]))
    return pack_stream(entity, torch.tensor([row == "q" for row in "".join(groups)]))


def stream(spec: NetworkSpec) -> Stream:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = Network(spec).streams[0]
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def results(
    tested: Stream, x: Tensor, grad: Tensor, rows: StreamLayout, backend: Backend | None = None
) -> dict[str, Tensor]:
    x = x.detach().clone().requires_grad_()
    tested.zero_grad(set_to_none=True)
    out = tested(x, rows, DropoutMasks(torch.tensor([7], device=x.device)), backend)
    out.backward(grad)
    gradients = {name: p.grad for name, p in tested.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **gradients}


def distance(ours: Tensor, theirs: Tensor, unit: Tensor | None = None) -> float:
    """The norm of the difference divided by the norm of `unit`, by default of the expected values."""
    unit = theirs if unit is None else unit
    return float((ours.double() - theirs.double()).norm() / unit.double().norm().clamp(min=1e-6))


def unit_of(name: str, exact: dict[str, Tensor]) -> Tensor:
    """The gradient in whose terms the error of a gradient is stated."""
    return exact[name.removesuffix("bias") + "weight"] if name.endswith(CANCELLING) else exact[name]


def assert_rounded(ours: dict[str, Tensor], rough: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """Our results are as near to `exact` as the plain form in bfloat16, `rough`."""
    for name, expected in exact.items():
        if name.endswith(CANCELLING):
            assert distance(ours[name], expected, unit_of(name, exact)) < OF_THE_WEIGHT, name
        else:
            assert distance(ours[name], expected) < SHARE * distance(rough[name], expected) + MORE, name


def assert_close(groups: list[str], spec: NetworkSpec, dtype: torch.dtype) -> None:
    rows = layout(groups)
    count = len(rows.order)
    generator = torch.Generator().manual_seed(3)
    x, grad = (torch.randn(count, spec.channels, generator=generator).to(GPU, dtype) for _ in range(2))
    weights = stream(spec).to(GPU, dtype)
    ours, again = (results(weights, x, grad, rows.to(GPU)) for _ in range(2))
    rough = results(weights, x, grad, rows.to(GPU), Backend(GPU, Kernels.PLAIN))
    exact = results(weights.double(), x.double(), grad.double(), rows.to(GPU))
    assert ours.keys() == exact.keys()
    for name, expected in exact.items():
        assert dtype != torch.float32 or distance(ours[name], expected, unit_of(name, exact)) < FLOAT32, name
        assert torch.equal(ours[name], again[name]), f"{name} differs from run to run"
    if dtype == torch.bfloat16:
        assert_rounded(ours, rough, exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GROUPS)
def test_layers_match_the_plain_form(name: str, dtype: torch.dtype) -> None:
    assert_close(GROUPS[name], NetworkSpec(streams=(StreamSpec("card_id", 3, 1.5, 0.05),)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (32, 1), (32, 2), (64, 1), (96, 3), (160, 5)])
def test_other_sizes(channels: int, heads: int, dtype: torch.dtype) -> None:
    spec = NetworkSpec(channels=channels, heads=heads, streams=(StreamSpec("card_id", 2, 2.0, 0.05),))
    assert_close(GROUPS["mixed"], spec, dtype)


@pytest.mark.parametrize("slice_rows", [7, 50, 10**6])
@torch.no_grad()
def test_slices_on_a_gpu_match_the_whole_on_the_cpu(slice_rows: int) -> None:
    """In float32; a cut through a group carries over its state."""
    ids, is_query = random_history(1, 160, cards=9)
    layouts = layouts_of(ids, is_query)
    rows, network = random_rows(3, len(is_query)), recipe_network(PUBLISHED)
    expected = network(plain_inputs(rows), layouts)
    batch = in_single_buffer(gpu_batch(rows, layouts, slice_rows)).to(GPU).batch
    network = network.to(GPU)
    x, again = (run_streams(network, encode_fused(network.features2card, batch.rows), batch.streams) for _ in range(2))
    assert torch.equal(x, again)
    for ours, theirs in zip(network.read_out(x), expected, strict=True):
        assert distance(ours.cpu(), theirs) < FLOAT32


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype: torch.dtype) -> None:
    seed = torch.tensor([7], device=GPU)
    x = torch.randn(70, 1000, generator=torch.Generator().manual_seed(1)).to(GPU, dtype)
    for site in (1, 2, 16):
        for residual in (None, x):
            ours, theirs = (op(x, 0.2, seed, site, residual) for op in (hash_dropout, dropout_reference))
            assert distance(ours, theirs) < (1e-6 if dtype == torch.float32 else 3e-3)
            assert torch.equal(ours == 0, theirs == 0)
