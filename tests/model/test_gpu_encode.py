"""The encoder's kernel against the plain form in float64, including stored rows at the ends of their ranges."""

import pytest
import torch
from torch import nn

from rwkv.model.gpu_encoder import encode_fused, inputs_fused
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.pytree import map_tensors
from tests.model.test_gpu_layer import distance
from tests.ops.gpu import needs_gpu
from tests.ops.triton.stored_rows import plain_inputs, random_rows

pytestmark = needs_gpu

GPU = torch.device("cuda")
# Relative to the norm: two sums of at most 512 terms, and sines right to 1e-6.
FLOAT32 = 2e-6
DTYPES = (torch.float32, torch.bfloat16)


def encoder(spec: NetworkSpec) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = Network(spec).features2card
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made.requires_grad_(False)


def assert_close(rows: int, sequences: int, spec: NetworkSpec, dtype: torch.dtype) -> None:
    stored = random_rows(2, rows, sequences)
    inputs, on_gpu = plain_inputs(stored).to(GPU), map_tensors(lambda x: x.to(GPU), stored)
    weights = encoder(spec).to(GPU, dtype)
    ours, again = (encode_fused(weights, on_gpu) for _ in range(2))
    rough = weights(inputs.to(dtype))
    exact = weights.double()(inputs.double())
    assert ours.dtype == dtype
    assert ours.shape == exact.shape
    # The plain form rounds to bfloat16 after each step, the kernel only what its products take.
    assert distance(ours, exact) < (FLOAT32 if dtype == torch.float32 else distance(rough, exact))
    assert torch.equal(ours, again), "it differs from run to run"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "sequences"), [(1, 1), (127, 1), (128, 2), (129, 3), (5000, 60)])
def test_the_published_encoder_matches_the_plain_form(rows: int, sequences: int, dtype: torch.dtype) -> None:
    assert_close(rows, sequences, PUBLISHED, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "hidden"), [(16, 24), (32, 64), (64, 200), (96, 384)])
def test_other_sizes(channels: int, hidden: int, dtype: torch.dtype) -> None:
    assert_close(300, 4, NetworkSpec(channels=channels, heads=1, input_hidden=hidden, streams=()), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_columns_may_lie_far_from_zero(dtype: torch.dtype) -> None:
    """Their variance is not computed as a difference of large sums."""
    stored = random_rows(2, 200)
    weights = encoder(PUBLISHED)
    first = weights[0]
    assert isinstance(first, nn.Linear)
    first.bias.data += 300.0
    inputs, on_gpu = plain_inputs(stored).to(GPU), map_tensors(lambda x: x.to(GPU), stored)
    weights = weights.to(GPU, dtype)
    ours = encode_fused(weights, on_gpu)
    exact = weights.double()(inputs.double())
    # Beside 300, float32 rounds a deviation of about 1 at 2e-5; bfloat16 rounds the factors of products at 2e-3.
    assert distance(ours, exact) < (1e-4 if dtype == torch.float32 else 0.01)


def test_no_rows() -> None:
    on_gpu = map_tensors(lambda x: x.to(GPU), random_rows(2, 0))
    assert encode_fused(encoder(PUBLISHED).to(GPU), on_gpu).shape == (0, PUBLISHED.channels)


@pytest.mark.parametrize(("rows", "sequences"), [(1, 1), (33, 2), (5000, 60)])
def test_the_inputs_alone(rows: int, sequences: int) -> None:
    stored = random_rows(2, rows, sequences)
    on_gpu, expected = map_tensors(lambda x: x.to(GPU), stored), plain_inputs(stored).to(GPU)
    # The sines are right to 1e-6, all other columns exact.
    assert float((inputs_fused(on_gpu, torch.float32) - expected).abs().max()) < 2e-6
    assert torch.equal(inputs_fused(on_gpu, torch.bfloat16), inputs_fused(on_gpu, torch.float32).to(torch.bfloat16))
