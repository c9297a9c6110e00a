"""LayerNorm and token shift on a GPU: each row becomes the pair [x' | s - x'], from which all interpolations follow.

Here x' = LayerNorm(x), and s is x' of the row's source. An interpolation is m = x' + lerp (s - x'), see
rwkv/ops/shift.py, so a linear map W of m is [W | W lerp] of the pair, and one product serves all interpolations.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import channel_sizes, channels_of, launch, load_channels, load_float, store_channels
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.reductions import standardised_rows, sum_blocks
from rwkv.ops.triton.tuning import other_sizes, persistent


# The first row of a program is addressed with 64 bits and offsets from it with 32, which take half the registers.
@triton.jit
def _standardised(x, first, row, mask, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """Standardise rows of x: (x - mean) / deviation, float32 [ROWS, C_WIDTH], and 1 / deviation [ROWS]."""
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    values = load_float(x, first * C, at, channels_of(mask, C, C_WIDTH))
    return standardised_rows(values, C, C_WIDTH)


@triton.jit
def pair_of(x, weight, bias, source, before, first, rows, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """x' and s - x' of ROWS rows from `first`, float32 [ROWS, C_WIDTH] each; sources from `rows` on are of `before`."""
    column, row = tl.arange(0, C_WIDTH), tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    w = load_channels(weight, C, C_WIDTH)
    b = load_channels(bias, C, C_WIDTH)
    from_row = tl.load(source + first + row, mask=inside, other=0)
    own, _ = _standardised(x, first, row, inside, C, C_WIDTH)
    own = own * w + b
    shifted, _ = _standardised(x, first, (from_row - first).to(tl.int32), inside & (from_row < rows), C, C_WIDTH)
    shifted = shifted * w + b
    if before is not None:
        is_before = inside & (from_row >= rows)
        at = (from_row - rows)[:, None] * C + column[None, :]
        earlier = tl.load(before + at, mask=channels_of(is_before, C, C_WIDTH), other=0).to(tl.float32)
        shifted = tl.where(is_before[:, None], earlier, shifted)
    return own, shifted - own


@triton.jit(do_not_specialize=["rows"])
def _pair_kernel(x, weight, bias, source, pair, rows, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * ROWS
    own, difference = pair_of(x, weight, bias, source, None, first, rows, ROWS, C, C_WIDTH)
    row = tl.arange(0, ROWS)
    at = pair + first * 2 * C + (row[:, None] * 2 * C + tl.arange(0, C_WIDTH)[None, :])
    inside = row < (rows - first).to(tl.int32)
    tl.store(at, own, mask=channels_of(inside, C, C_WIDTH))
    tl.store(at + C, difference, mask=channels_of(inside, C, C_WIDTH))


@triton.jit
def _follows(sources, first, row, distance, left, among):
    """Which of the rows `among` have their row as source that many rows later."""
    follower = row + distance
    return among & (tl.load(sources + follower, mask=among & (follower < left), other=-1) == first + row)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _shift_backward_kernel(
    x, weight, source, of_pair, of_sum, seed, grad_x, sums, rows, site, threshold, scale,
    ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr,
):  # fmt: skip
    """Gather the gradient of each x' (the rows with it as source follow it directly), then go through the LayerNorm.

    sums, float32 [programs, 2, C], gets the gradients of weight and bias.
    """
    row, column = tl.arange(0, ROWS), tl.arange(0, C_WIDTH)
    at, pair_at = row[:, None] * C + column[None, :], row[:, None] * 2 * C + column[None, :]
    w = load_channels(weight, C, C_WIDTH)
    of_weight, of_bias = tl.zeros((ROWS, C_WIDTH), tl.float32), tl.zeros((ROWS, C_WIDTH), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        first = tl.cast(block, tl.int64) * ROWS
        left = (rows - first).to(tl.int32)
        inside = row < left
        full = channels_of(inside, C, C_WIDTH)
        sources, pairs_at = source + first, first * 2 * C
        follows = _follows(sources, first, row, 1, left, inside)
        follows_next = _follows(sources, first, row, 2, left, follows)
        # A row that is its own source has s - x' = 0, whatever x' is.
        is_shifted = inside & (tl.load(sources + row, mask=inside, other=-1) != first + row)
        grad = load_float(of_pair, pairs_at, pair_at, full)
        grad -= load_float(of_pair, pairs_at, pair_at + C, channels_of(is_shifted, C, C_WIDTH))
        grad += load_float(of_pair, pairs_at, pair_at + 3 * C, channels_of(follows, C, C_WIDTH))
        grad += load_float(of_pair, pairs_at, pair_at + 5 * C, channels_of(follows_next, C, C_WIDTH))
        direct = load_float(of_sum, first * C, at, full)
        unit, rstd = _standardised(x, first, row, inside, C, C_WIDTH)
        distance = 3
        follows = _follows(sources, first, row, distance, left, follows_next)
        while tl.max(follows.to(tl.int32), 0) > 0:
            grad += load_float(of_pair, pairs_at, pair_at + (2 * distance + 1) * C, channels_of(follows, C, C_WIDTH))
            distance += 1
            follows = _follows(sources, first, row, distance, left, follows)
        scaled = grad * w
        level = tl.sum(scaled, 1) / C
        along = tl.sum(scaled * unit, 1) / C
        direct = dropped(direct, first * C, at, C, seed, site, threshold, scale)
        result = direct + rstd[:, None] * (scaled - level[:, None] - unit * along[:, None])
        tl.store(grad_x + first * C + at, result, mask=full)
        of_weight += grad * unit
        of_bias += grad
    total = sums + tl.program_id(0).to(tl.int64) * 2 * C + column
    store_channels(total, tl.sum(of_weight, 0), C, C_WIDTH)
    store_channels(total + C, tl.sum(of_bias, 0), C, C_WIDTH)


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
        **channel_sizes(channels),
        **sizes,
    )
    return pair


def shifted_pairs_backward(
    x: Tensor, weight: Tensor, source: Tensor, of_pair: Tensor, of_sum: Tensor, drop: Drop
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias in drop(x + f(pairs)), from those of pairs [N, 2 C] and sum [N, C]."""
    rows, channels = x.shape
    programs, sizes = persistent(other_sizes("shift_backward"), rows)
    grad_x = torch.empty_like(x)
    sums = x.new_empty(programs, 2, channels, dtype=torch.float32)
    launch(
        _shift_backward_kernel,
        programs,
        x=x,
        weight=weight,
        source=source,
        of_pair=of_pair,
        of_sum=of_sum,
        grad_x=grad_x,
        sums=sums,
        rows=rows,
        **drop.arguments,
        **channel_sizes(channels),
        **sizes,
    )
    of_weight, of_bias = sum_blocks(sums, weight.dtype)
    return grad_x, of_weight, of_bias
