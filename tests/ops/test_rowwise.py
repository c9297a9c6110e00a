"""The ops around the recurrence: the native kernels against their definitions in float64, values and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rwkv.ops.dropout import dropout_reference, hash_dropout
from rwkv.ops.native import is_built
from rwkv.ops.token_mix import token_mix, token_mix_reference
from rwkv.ops.wkv_inputs import wkv_inputs, wkv_inputs_reference
from rwkv.ops.wkv_output import wkv_output, wkv_output_reference

# Float32 with sums of a few hundred terms, relative to the norm of the whole.
TOLERANCE = 2e-6

ROWS = [0, 1, 5, 127, 128, 300]
HEADS = 3

pytestmark = pytest.mark.skipif(not is_built(), reason="the native kernels were not built: no compiler")


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def difference(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.detach().double(), theirs.detach()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))


def assert_native_is_reference(
    native: Callable[..., tuple[Tensor, ...]], reference: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor | None]
) -> None:
    """Compare all outputs and the gradients of all inputs, for random gradients of the outputs."""
    exact = [None if x is None else x.clone().requires_grad_() for x in inputs]
    rough = [None if x is None else x.float().requires_grad_() for x in inputs]
    theirs, ours = reference(*exact), native(*rough)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == torch.float32
        assert difference(our, their) < TOLERANCE
    grads = [normal(100 + i, *their.shape) for i, their in enumerate(theirs)]
    torch.autograd.backward(theirs, grads)
    torch.autograd.backward(ours, [grad.float() for grad in grads])
    for index, (our, their) in enumerate(zip(rough, exact, strict=True)):
        if our is not None:
            assert difference(our.grad, their.grad) < TOLERANCE, f"gradient of input {index}"


def some_source(rows: int) -> Tensor:
    """Groups of 1 to 7 rows, every third row a query: the latest earlier review of the group, or the row itself."""
    source, latest = [], None
    for row in range(rows):
        if row % 7 in (0, 3):
            latest = None
        source.append(row if latest is None else latest)
        if row % 3 != 1:
            latest = row
    return torch.tensor(source, dtype=torch.int64)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("lerps", [1, 8])
def test_token_mix(rows: int, lerps: int) -> None:
    source = some_source(rows)
    inputs = [3 * normal(1, rows, 96) + 1, normal(2, 96), normal(3, 96), normal(4, lerps, 96)]
    assert_native_is_reference(
        lambda *x: token_mix(*x, source)[0], lambda *x: token_mix_reference(*x, source)[0], inputs
    )
    normed = token_mix(*(x.float() for x in inputs), source)[1]
    assert difference(normed, token_mix_reference(*inputs, source)[1]) < TOLERANCE


def test_token_mix_with_rows_from_before() -> None:
    rows, before = 20, normal(5, 3, 96)
    source = some_source(rows)
    source[[0, 3, 7]] = torch.tensor([rows, rows + 2, rows + 1])
    inputs = [normal(1, rows, 96), normal(2, 96), normal(3, 96), normal(4, 8, 96)]
    with torch.no_grad():
        ours = token_mix(*(x.float() for x in inputs), source, before.float())[0]
    for our, their in zip(ours, token_mix_reference(*inputs, source, before)[0], strict=True):
        assert difference(our, their) < TOLERANCE


@pytest.mark.parametrize("wrong", [-1, 4, 10])
def test_token_mix_refuses_rows_that_are_not_there_or_come_later(wrong: int) -> None:
    source = torch.arange(10)
    source[3] = wrong
    with pytest.raises(RuntimeError, match="source"):
        token_mix(normal(1, 10, 32).float(), torch.ones(32), torch.ones(32), torch.ones(1, 32), source)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("first_layer", [True, False])
def test_wkv_inputs(rows: int, width: int, first_layer: bool) -> None:
    channels = HEADS * width
    v0 = normal(2, rows, channels)

    def call(
        op: Callable[..., tuple[Tensor, ...]], k: Tensor, v: Tensor, mix: Tensor | None, *others: Tensor
    ) -> object:
        return op(k, v, v if first_layer else v0.to(v.dtype), mix, *others)

    inputs = [
        normal(1, rows, channels),
        normal(3, rows, channels),
        None if first_layer else normal(4, rows, channels),
        *(2 * normal(5 + i, rows, channels) for i in range(2)),
        *(normal(7 + i, rows, HEADS) for i in range(2)),
    ]
    assert_native_is_reference(lambda *x: call(wkv_inputs, *x), lambda *x: call(wkv_inputs_reference, *x), inputs)


def test_wkv_inputs_gives_the_first_layers_values_their_gradient() -> None:
    shapes = [(40, 64)] * 6 + [(40, 2)] * 2
    inputs = [normal(i, *shape) for i, shape in enumerate(shapes)]
    assert_native_is_reference(wkv_inputs, wkv_inputs_reference, inputs)


def test_wkv_inputs_of_zero_and_of_extreme_rows_are_finite() -> None:
    """Keys and values of length zero are clamped, not divided by; squashing saturates."""
    x = [torch.zeros(4, 64), torch.zeros(4, 64), torch.zeros(4, 64), *(torch.full((4, 64), 200.0) for _ in range(3))]
    x += [torch.full((4, 2), -200.0) for _ in range(2)]
    x = [part.requires_grad_() for part in x]
    outputs = wkv_inputs(*x)
    torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
    assert all(torch.isfinite(y).all() for y in outputs)
    assert all(torch.isfinite(part.grad).all() for part in x)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("width", [16, 32, 64])
def test_wkv_output(rows: int, width: int) -> None:
    channels = HEADS * width
    inputs = [
        *(normal(i, rows, channels) for i in range(5)),
        normal(6, HEADS, width),
        normal(7, channels),
        normal(8, channels),
    ]
    assert_native_is_reference(lambda *x: (wkv_output(*x),), lambda *x: (wkv_output_reference(*x),), inputs)


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    def gradients(threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            x = [
                normal(i, *shape).float().requires_grad_() for i, shape in enumerate([(900, 64), (64,), (64,), (8, 64)])
            ]
            torch.stack(token_mix(*x, some_source(900))[0]).square().sum().backward()
            return [part.grad for part in x]
        finally:
            torch.set_num_threads(before)

    for one, two in zip(gradients(1), gradients(2), strict=True):
        assert torch.equal(one, two)


def test_nothing_is_hidden() -> None:
    """A value that is not a number stays one."""
    x = normal(1, 8, 64).float()
    x[3, 5] = float("nan")
    mixed, _ = token_mix(x, torch.ones(64), torch.zeros(64), torch.rand(2, 64), torch.arange(8))
    assert all(m[3].isnan().all() and not m[:3].isnan().any() for m in mixed)


@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_dropout(rate: float) -> None:
    x = normal(1, 70, 1000)
    for seed, site in ((0, 1), (2**32 - 1, 7)):
        seeds = torch.tensor([seed])
        ours = hash_dropout(x.float(), rate, seeds, site)
        # One float32 product each.
        torch.testing.assert_close(ours.double(), dropout_reference(x, rate, seeds, site), rtol=2e-7, atol=0)
        # 70,000 draws: the standard deviation of a share is at most 0.002.
        assert float((ours == 0).double().mean()) == pytest.approx(rate, abs=0.008)


def test_dropout_drops_the_gradient_where_it_drops_the_value() -> None:
    x = torch.ones(50, 64, requires_grad=True)
    y = hash_dropout(x, 0.3, torch.tensor([5]), 2)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_masks_of_other_seeds_and_sites_have_nothing_in_common() -> None:
    """Each pair of masks agrees as often as independent ones: 0.5, whose deviation is 0.0014 for 131,072 entries."""
    x = torch.ones(1024, 128)
    masks = [hash_dropout(x, 0.5, torch.tensor([seed]), site) > 0 for seed in (1, 2, 3) for site in (1, 2, 3)]
    for index, one in enumerate(masks):
        for other in masks[index + 1 :]:
            assert float((one == other).double().mean()) == pytest.approx(0.5, abs=0.008)
