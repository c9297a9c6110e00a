"""LayerNorm and token shift on a GPU: each row becomes the pair [x' | s - x'], from which all interpolations follow.

Here x' = LayerNorm(x), and s is x' of the row's source. An interpolation is m = x' + lerp (s - x'), see
rwkv/ops/mixers.py, so a linear map W of m is [W | W lerp] of the pair, and one product serves all interpolations.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import launch
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.reductions import standardised_rows, sum_blocks
from rwkv.ops.triton.tuning import other_sizes


# The first row of a program is addressed with 64 bits and offsets from it with 32, which take half the registers.
@triton.jit
def _standardised(x, first, row, mask, C: tl.constexpr):
    """Standardise rows of x: (x - mean) / deviation, float32 [ROWS, C], and 1 / deviation [ROWS]."""
    at = row[:, None] * C + tl.arange(0, C)[None, :]
    return standardised_rows(tl.load(x + first * C + at, mask=mask[:, None], other=0).to(tl.float32), C)


@triton.jit
def pair_of(x, weight, bias, source, before, first, rows, ROWS: tl.constexpr, C: tl.constexpr):
    """x' and s - x' of ROWS rows from `first`, float32 [ROWS, C] each. Sources from `rows` on are rows of `before`."""
    column, row = tl.arange(0, C), tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    w = tl.load(weight + column).to(tl.float32)[None, :]
    b = tl.load(bias + column).to(tl.float32)[None, :]
    from_row = tl.load(source + first + row, mask=inside, other=0)
    own, _ = _standardised(x, first, row, inside, C)
    own = own * w + b
    shifted, _ = _standardised(x, first, (from_row - first).to(tl.int32), inside & (from_row < rows), C)
    shifted = shifted * w + b
    if before is not None:
        is_before = inside & (from_row >= rows)
        at = (from_row - rows)[:, None] * C + column[None, :]
        earlier = tl.load(before + at, mask=is_before[:, None], other=0).to(tl.float32)
        shifted = tl.where(is_before[:, None], earlier, shifted)
    return own, shifted - own


@triton.jit(do_not_specialize=["rows"])
def _pair_kernel(x, weight, bias, source, pair, rows, ROWS: tl.constexpr, C: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * ROWS
    own, difference = pair_of(x, weight, bias, source, None, first, rows, ROWS, C)
    row = tl.arange(0, ROWS)
    at = pair + first * 2 * C + (row[:, None] * 2 * C + tl.arange(0, C)[None, :])
    inside = row < (rows - first).to(tl.int32)
    tl.store(at, own, mask=inside[:, None])
    tl.store(at + C, difference, mask=inside[:, None])


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _shift_backward_kernel(
    x, weight, source, of_pair, of_sum, seed, grad_x, sums, rows, site, threshold, scale,
    ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Gather the gradient of each x' (the rows with it as source follow it directly), then go through the LayerNorm."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, C)
    left = (rows - first).to(tl.int32)
    inside = row < left
    full = inside[:, None] & (column >= 0)[None, :]
    of_pair += first * 2 * C
    source += first
    at = row[:, None] * 2 * C + column[None, :]
    grad = tl.load(of_pair + at, mask=full, other=0).to(tl.float32)
    # A row that is its own source has s - x' = 0, whatever x' is.
    is_shifted = inside & (tl.load(source + row, mask=inside, other=-1) != first + row)
    grad -= tl.load(of_pair + at + C, mask=is_shifted[:, None], other=0).to(tl.float32)
    follower = row + 1
    follows = tl.load(source + follower, mask=follower < left, other=-1) == first + row
    while tl.max(follows.to(tl.int32), 0) > 0:
        its = follower[:, None] * 2 * C + C + column[None, :]
        grad += tl.load(of_pair + its, mask=follows[:, None], other=0).to(tl.float32)
        follower += 1
        follows = follows & (tl.load(source + follower, mask=follows & (follower < left), other=-1) == first + row)
    unit, rstd = _standardised(x, first, row, inside, C)
    scaled = grad * tl.load(weight + column).to(tl.float32)[None, :]
    level = tl.sum(scaled, 1) / C
    along = tl.sum(scaled * unit, 1) / C
    at = row[:, None] * C + column[None, :]
    direct = tl.load(of_sum + first * C + at, mask=full, other=0).to(tl.float32)
    direct = dropped(direct, first * C, at, seed, site, threshold, scale)
    result = direct + rstd[:, None] * (scaled - level[:, None] - unit * along[:, None])
    tl.store(grad_x + first * C + at, result, mask=full)
    total = sums + tl.program_id(0).to(tl.int64) * 2 * C + column
    tl.store(total, tl.sum(grad * unit, 0))
    tl.store(total + C, tl.sum(grad, 0))


def shifted_pairs(x: Tensor, weight: Tensor, bias: Tensor, source: Tensor) -> Tensor:
    """The pairs [x' | s - x'], [N, 2 C], of x [N, C]. weight and bias are [C]; source is int64 [N], see `token_mix`."""
    (rows, channels), sizes = x.shape, other_sizes("shift")
    pair = x.new_empty(rows, 2 * channels)
    launch(
        _pair_kernel,
        triton.cdiv(rows, sizes["ROWS"]),
        x=x,
        weight=weight,
        bias=bias,
        source=source,
        pair=pair,
        rows=rows,
        C=channels,
        **sizes,
    )
    return pair


def shifted_pairs_backward(
    x: Tensor, weight: Tensor, source: Tensor, of_pair: Tensor, of_sum: Tensor, drop: Drop
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias in drop(x + f(pairs)), from those of pairs [N, 2 C] and sum [N, C]."""
    (rows, channels), sizes = x.shape, other_sizes("shift_backward")
    grad_x = torch.empty_like(x)
    blocks = triton.cdiv(rows, sizes["ROWS"])
    sums = x.new_empty(blocks, 2, channels, dtype=torch.float32)
    launch(
        _shift_backward_kernel,
        blocks,
        x=x,
        weight=weight,
        source=source,
        of_pair=of_pair,
        of_sum=of_sum,
        grad_x=grad_x,
        sums=sums,
        rows=rows,
        **drop.arguments,
        C=channels,
        **sizes,
    )
    of_weight, of_bias = sum_blocks(sums, weight.dtype)
    return grad_x, of_weight, of_bias
