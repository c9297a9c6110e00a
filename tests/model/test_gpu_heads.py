"""The heads on a GPU against the plain form in float64, for any number of rows and any time."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rwkv.model.curve import correction_points, curve_logits
from rwkv.model.gpu_heads import ask_heads_fused
from rwkv.model.network import Network, frozen_network
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.ops.backend import plain_ops
from tests.networks import recipe_network
from tests.ops.gpu import needs_gpu

pytestmark = needs_gpu

GPU = torch.device("cuda")
ROWS = 700
YEARS_60 = 60 * 365.25 * 86_400
# Sums of some hundred terms along a few operations, in a probability and in a logit of size 1 to 10.
FLOAT32 = 2e-5
# bfloat16 rounds each operand at 1.7e-3 in the mean: measured by the plain form's own distance from float64.
SHARE, MORE = 1.5, 0.01
# For each by which hidden columns are raised, in probability. Rounding of their mean grows with it: at 30 the sums of
# the kernel are 1e-5 off in float32, at 300 1e-4, and by three products of TF32, cut off as they are added, up to four
# times as much; the plain form, which takes the mean off first, half of it. A variance from the mean of squares grows
# worse with its square: at 300 it is 5e-3 off.
RAISED = 1e-4 / 30


def network(spec: NetworkSpec, dtype: torch.dtype, raised: float = 0.0) -> Network:
    """A network whose recall spreads over most of 0 to 1; `raised` shifts the curves' hidden columns."""
    weights = recipe_network(spec, 0.15).state_dict()
    weights["head_w.0.bias"] += raised
    return frozen_network(weights, dtype, spec).to(GPU)


def plain(heads: Network, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor) -> tuple[Tensor, Tensor]:
    with plain_ops():
        recall = curve_logits(*heads.read_curve(x[ahead_row]), elapsed_s).corrected.sigmoid()
        return recall, heads.read_ratings(x[imm_row])


def asked(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row indices, some repeated, and whole seconds from 1 to 60 years."""
    generator = torch.Generator().manual_seed(n)
    rows = [torch.randint(ROWS, (n,), generator=generator) for _ in range(2)]
    elapsed_s = torch.exp(math.log(YEARS_60) * torch.rand(n, generator=generator, dtype=torch.float64)).long()
    return rows[0].to(GPU), elapsed_s.clamp(min=1).to(GPU), rows[1].to(GPU)


def last_rows(channels: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(ROWS, channels, generator=torch.Generator().manual_seed(1)).to(GPU, dtype)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).abs().max())


@torch.no_grad()
def assert_close(spec: NetworkSpec, dtype: torch.dtype, asked: tuple[Tensor, Tensor, Tensor]) -> None:
    tested, x = network(spec, dtype), last_rows(spec.channels, dtype)
    ours, again = (ask_heads_fused(tested, x, *asked) for _ in range(2))
    rough = plain(tested, x, *asked)
    exact = plain(tested.double(), x.double(), *asked)
    for our, twice, near, expected in zip(ours, again, rough, exact, strict=True):
        assert our.dtype == torch.float32
        assert our.shape == expected.shape
        limit = FLOAT32 if dtype == torch.float32 else SHARE * largest_difference(near, expected) + MORE
        assert largest_difference(our, expected) < limit
        assert torch.equal(our, twice)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000])
def test_any_number_of_rows(n: int, dtype: torch.dtype) -> None:
    assert_close(PUBLISHED, dtype, asked(n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "heads", "hidden"), [(16, 1, 24), (32, 2, 56), (64, 2, 256), (96, 3, 384)])
def test_other_sizes(channels: int, heads: int, hidden: int, dtype: torch.dtype) -> None:
    assert_close(replace(PUBLISHED, channels=channels, heads=heads, head_hidden=hidden), dtype, asked(200))


@pytest.mark.parametrize("raised", [30, 300])
@torch.no_grad()
def test_hidden_columns_far_from_zero(raised: int) -> None:
    """Their LayerNorm subtracts a mean that is many times their deviation, 1.7."""
    tested, x, wanted = (
        network(PUBLISHED, torch.float32, raised),
        last_rows(PUBLISHED.channels, torch.float32),
        asked(ROWS),
    )
    ours, _ = ask_heads_fused(tested, x, *wanted)
    exact, _ = plain(tested.double(), x.double(), *wanted)
    assert largest_difference(ours, exact) < RAISED * raised


def test_times_on_the_points_below_the_first_and_beyond_the_last() -> None:
    points = correction_points(GPU)
    elapsed_s = torch.cat([points, points + 1e-3, points.new_tensor([-5.0, 0.0, 0.3, 1.0, 1.4e9, 1e12])])
    rows = torch.arange(len(elapsed_s), device=GPU)
    assert_close(PUBLISHED, torch.float32, (rows, elapsed_s, rows))


@torch.no_grad()
def test_nan_stays_nan() -> None:
    tested, x = network(PUBLISHED, torch.bfloat16), last_rows(PUBLISHED.channels, torch.bfloat16)
    x[3] = torch.nan
    rows = torch.arange(5, device=GPU)
    p_ahead, p_logits = ask_heads_fused(tested, x, rows, 100 * (rows + 1), rows)
    assert p_ahead.isnan().tolist() == [row == 3 for row in range(5)]
    assert p_logits.isnan().tolist() == [[row == 3] * 4 for row in range(5)]


@torch.no_grad()
def test_no_rows() -> None:
    none = torch.zeros(0, dtype=torch.int64, device=GPU)
    p_ahead, p_logits = ask_heads_fused(
        network(PUBLISHED, torch.bfloat16), last_rows(PUBLISHED.channels, torch.bfloat16), none, none, none
    )
    assert p_ahead.shape == (0,)
    assert p_logits.shape == (0, 4)
