"""The ops around the recurrence on a GPU against their definitions in float64, values and gradients."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.dropout import dropout_reference, hash_dropout
from rwkv.ops.linear import biased_linear
from rwkv.ops.relu_square import relu_square
from rwkv.ops.token_mix import token_mix, token_mix_reference
from rwkv.ops.wkv_inputs import wkv_inputs, wkv_inputs_reference
from rwkv.ops.wkv_output import wkv_output, wkv_output_reference
from tests.ops.gpu import needs_gpu
from tests.ops.test_rowwise import difference, normal, some_source

pytestmark = needs_gpu

# Relative to the norm. Float32: sums of a few hundred terms. bfloat16 rounds results at 1.7e-3 in the mean, and
# intermediate gradients once more.
LIMITS = {torch.float32: 3e-6, torch.bfloat16: 8e-3}
ROWS = [1, 31, 300]

Op = Callable[..., tuple[Tensor, ...]]


def assert_close(op: Op, reference: Op, inputs: list[Tensor | None], dtype: torch.dtype) -> None:
    """Compare outputs and gradients, both on inputs rounded to the dtype."""
    ours = [None if x is None else x.to("cuda", dtype).requires_grad_() for x in inputs]
    exact = [None if x is None else x.detach().double().requires_grad_() for x in ours]
    our_outputs, outputs = op(*ours), reference(*exact)
    grads = [normal(100 + i, *y.shape).to("cuda", y.dtype) for i, y in enumerate(our_outputs)]
    torch.autograd.backward(our_outputs, grads)
    torch.autograd.backward(outputs, [grad.double() for grad in grads])
    for our, their in zip(our_outputs, outputs, strict=True):
        assert difference(our, their) < LIMITS[dtype]
    for index, (our, their) in enumerate(zip(ours, exact, strict=True)):
        if our is not None:
            assert difference(our.grad, their.grad) < LIMITS[dtype], f"gradient of input {index}"


FLOATS = pytest.mark.parametrize("dtype", LIMITS)
MANY = pytest.mark.parametrize("rows", ROWS)


@FLOATS
@MANY
@pytest.mark.parametrize("lerps", [1, 8])
def test_token_mix(rows: int, lerps: int, dtype: torch.dtype) -> None:
    source = some_source(rows).cuda()
    inputs = [3 * normal(1, rows, 96) + 1, normal(2, 96), normal(3, 96), normal(4, lerps, 96)]
    assert_close(lambda *x: token_mix(*x, source)[0], lambda *x: token_mix_reference(*x, source)[0], inputs, dtype)


@FLOATS
def test_token_mix_with_rows_from_before(dtype: torch.dtype) -> None:
    source = some_source(20)
    source[[0, 3, 7]] = torch.tensor([20, 22, 21])
    inputs = [x.to("cuda", dtype) for x in (normal(1, 20, 96), normal(2, 96), normal(3, 96), normal(4, 8, 96))]
    before = normal(5, 3, 96).to("cuda", dtype)
    ours = token_mix(*inputs, source.cuda(), before)[0]
    theirs = token_mix_reference(*(x.double() for x in inputs), source.cuda(), before.double())[0]
    assert all(difference(our, their) < LIMITS[dtype] for our, their in zip(ours, theirs, strict=True))


@FLOATS
@MANY
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("first_layer", [False, True])
def test_wkv_inputs(rows: int, width: int, first_layer: bool, dtype: torch.dtype) -> None:
    inputs = [normal(i, rows, 3 * width) for i in range(6)] + [normal(i, rows, 3) for i in (6, 7)]
    if first_layer:
        inputs[2] = inputs[3] = None

    def call(op: Op) -> Op:
        return lambda k, v, v0, *others: op(k, v, v if v0 is None else v0, *others)

    assert_close(call(wkv_inputs), call(wkv_inputs_reference), inputs, dtype)


@FLOATS
@MANY
@pytest.mark.parametrize("width", [16, 32, 64])
def test_wkv_output(rows: int, width: int, dtype: torch.dtype) -> None:
    inputs = [*(normal(i, rows, 3 * width) for i in range(5)), normal(6, 3, width)]
    inputs += [normal(7, 3 * width), normal(8, 3 * width)]
    assert_close(lambda *x: (wkv_output(*x),), lambda *x: (wkv_output_reference(*x),), inputs, dtype)


@FLOATS
@pytest.mark.parametrize("residual", [False, True])
def test_dropout(residual: bool, dtype: torch.dtype) -> None:
    seed = torch.tensor([7], device="cuda")
    inputs = [normal(1, 70, 1000)] + [normal(2, 70, 1000)] * residual
    for site in (1, 2, 16):
        assert_close(
            lambda x, *added, site=site: (hash_dropout(x, 0.2, seed, site, *added),),
            lambda x, *added, site=site: (dropout_reference(x, 0.2, seed, site, *added),),
            inputs,
            dtype,
        )


@FLOATS
@MANY
def test_relu_square_and_linear(rows: int, dtype: torch.dtype) -> None:
    assert_close(lambda x: (relu_square(x),), lambda x: (F.relu(x).square(),), [normal(1, rows, 200)], dtype)
    inputs = [normal(1, rows, 48), normal(2, 20, 48), normal(3, 20)]
    assert_close(lambda *x: (biased_linear(*x),), lambda *x: (F.linear(*x),), inputs, dtype)
