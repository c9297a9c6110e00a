"""The kernels around the streams in training against their definitions in float64: values and every gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rwkv.ops.backend import plain_ops
from rwkv.ops.curve import curve_rows, curve_rows_reference
from rwkv.ops.groups import permute, take_rows
from rwkv.ops.heads import hidden_head, linear, two_maps
from tests.model.test_gpu_layer import distance
from tests.ops.gpu import needs_gpu

pytestmark = needs_gpu

GPU = torch.device("cuda")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
# Relative: sums of at most some hundred terms. In bfloat16, the kernels round the gradients of logits once more than
# the plain form: 3.3e-3 instead of 2.3e-3.
FLOAT32, ROUNDED = 2e-6, 5e-3

Function = Callable[..., Tensor]


def normal(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(function: Function, arguments: list[Tensor], upstream: Tensor) -> list[Tensor]:
    """The value and the gradients of all arguments."""
    leaves = [x.detach().requires_grad_() for x in arguments]
    value = function(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves, upstream.to(value.dtype))]


def assert_close(function: Function, arguments: list[Tensor], dtype: torch.dtype, outputs: int) -> None:
    upstream = normal(9, len(arguments[0]), outputs).to(GPU)
    ours, again = (with_gradients(function, arguments, upstream) for _ in range(2))
    with plain_ops():
        exact = with_gradients(function, [x.double() for x in arguments], upstream.double())
    for our, twice, expected in zip(ours, again, exact, strict=True):
        assert our.shape == expected.shape
        assert distance(our, expected) < (FLOAT32 if dtype == torch.float32 else ROUNDED)
        assert torch.equal(our, twice), "it differs from run to run"


@DTYPES
@pytest.mark.parametrize(
    ("rows", "channels", "hidden", "outputs"),
    [(1, 128, 512, 128), (63, 128, 512, 4), (1000, 128, 512, 128), (70, 16, 24, 4), (130, 96, 384, 128)],
)
def test_maps_of_the_heads(rows: int, channels: int, hidden: int, outputs: int, dtype: torch.dtype) -> None:
    x, W, bias = (
        y.to(GPU, dtype)
        for y in (normal(1, rows, channels), normal(2, hidden, channels, scale=0.1), normal(3, hidden, scale=0.1))
    )
    final, final_bias = normal(4, outputs, hidden, scale=0.1).to(GPU), normal(5, outputs).to(GPU)
    assert_close(hidden_head, [x, W, bias, final, final_bias], dtype, outputs)
    assert_close(two_maps, [x, W, bias, final, final_bias], dtype, outputs)
    assert_close(linear, [x, W, bias], dtype, hidden)


@torch.no_grad()
def test_final_maps_in_full_precision() -> None:
    """Logits of bfloat16 rows are as exact as float32 sums of products of the same rows."""
    x, W, bias = normal(1, 300, 128).to(GPU, torch.bfloat16), normal(2, 512, 128), normal(3, 512)
    final, final_bias = normal(4, 128, 512).to(GPU), normal(5, 128).to(GPU)
    arguments = [x, W.to(GPU, torch.bfloat16), bias.to(GPU, torch.bfloat16), final, final_bias]
    exact = two_maps(*(y.double() for y in arguments))
    assert distance(two_maps(*arguments), exact) < FLOAT32


@DTYPES
@pytest.mark.parametrize("channels", [16, 96, 128])
def test_rows_in_another_order(channels: int, dtype: torch.dtype) -> None:
    x, order = normal(1, 1000, channels).to(GPU, dtype), torch.randperm(1000, device=GPU)
    inverse = torch.argsort(order)
    moved, of_x = with_gradients(lambda y: permute(y, order, inverse), [x], x)
    assert torch.equal(moved, x[order])
    assert torch.equal(of_x, x[inverse])
    assert torch.equal(take_rows(x, order[:77].to(torch.int32)), x[order[:77]])
    assert take_rows(x, order[:0]).shape == (0, channels)


@pytest.mark.parametrize("rows", [1, 15, 1000])
def test_numbers_of_the_loss(rows: int) -> None:
    """Times from 0 s to far beyond the last point, uneven weights, and a row without corrections."""
    elapsed_s = torch.exp(21 * torch.rand(rows, generator=torch.Generator().manual_seed(3))).floor().to(GPU)
    elapsed_s[-1] = 0
    w_logits, ahead_logits = (normal(1, rows, 128, scale=3).to(GPU), normal(2, rows, 128, scale=0.3).to(GPU))
    ahead_logits[0] = 0
    upstream = normal(4, 5, rows).to(GPU)

    def stacked(function: Callable[..., tuple[Tensor, ...]]) -> Function:
        return lambda *logits: torch.stack(function(*logits, elapsed_s))

    ours = with_gradients(stacked(curve_rows), [w_logits, ahead_logits], upstream)
    exact = with_gradients(stacked(curve_rows_reference), [w_logits.double(), ahead_logits.double()], upstream.double())
    for our, expected in zip(ours, exact, strict=True):
        assert distance(our, expected) < FLOAT32
