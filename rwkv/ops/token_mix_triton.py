"""LayerNorm, token shift and interpolation on a GPU. See rwkv/ops/token_mix.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows a program: enough to fill its registers, few enough to fill the GPU.
_ROWS, _WARPS = 32, 4
_MOST_LERPS = 8


@triton.jit
def _rows_of(block, ROWS: tl.constexpr):
    return block.to(tl.int64) * ROWS + tl.arange(0, ROWS)


@triton.jit
def _normalised(x, row, mask, column, inside, weight, bias, mean, rstd, channels):
    loaded = tl.load(x + row[:, None] * channels + column[None, :], mask=mask[:, None] & inside[None, :], other=0)
    return (loaded.to(tl.float32) - mean[:, None]) * rstd[:, None] * weight[None, :] + bias[None, :]


@triton.jit(do_not_specialize=["rows"])
def _statistics_kernel(x, statistics, rows, channels, eps, ROWS: tl.constexpr, C: tl.constexpr):
    """Mean and reciprocal deviation of each row, into statistics float32 [2, N]."""
    row = _rows_of(tl.program_id(0), ROWS)
    column = tl.arange(0, C)
    mask, inside = row < rows, column < channels
    at = row[:, None] * channels + column[None, :]
    values = tl.load(x + at, mask=mask[:, None] & inside[None, :], other=0).to(tl.float32)
    mean = tl.sum(values, 1) / channels
    centred = tl.where(inside[None, :], values - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / channels + eps)
    tl.store(statistics + row, mean, mask=mask)
    tl.store(statistics + rows + row, rstd, mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _forward_kernel(
    x, weight, bias, lerps, source, before, statistics, mixed, normed, rows, channels,
    HAS_BEFORE: tl.constexpr, J: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = _rows_of(tl.program_id(0), ROWS)
    column = tl.arange(0, C)
    mask, inside = row < rows, column < channels
    w = tl.load(weight + column, mask=inside, other=0).to(tl.float32)
    b = tl.load(bias + column, mask=inside, other=0).to(tl.float32)
    from_row = tl.load(source + row, mask=mask, other=0)
    is_here = mask & (from_row < rows)
    here = tl.where(is_here, from_row, 0)
    mean, rstd = tl.load(statistics + row, mask=mask, other=0), tl.load(statistics + rows + row, mask=mask, other=0)
    own = _normalised(x, row, mask, column, inside, w, b, mean, rstd, channels)
    mean, rstd = tl.load(statistics + here), tl.load(statistics + rows + here)
    shifted = _normalised(x, here, is_here, column, inside, w, b, mean, rstd, channels)
    if HAS_BEFORE:
        at = (from_row - rows)[:, None] * channels + column[None, :]
        earlier = tl.load(before + at, mask=(mask & (from_row >= rows))[:, None] & inside[None, :], other=0)
        shifted = tl.where(is_here[:, None], shifted, earlier.to(tl.float32))
    at = row[:, None] * channels + column[None, :]
    full = mask[:, None] & inside[None, :]
    tl.store(normed + at, own, mask=full)
    for j in tl.static_range(J):
        lerp = tl.load(lerps + j * channels + column, mask=inside, other=0).to(tl.float32)
        tl.store(mixed + j * rows.to(tl.int64) * channels + at, own + lerp[None, :] * (shifted - own), mask=full)


@triton.jit(do_not_specialize=["rows"])
def _backward_mix_kernel(
    x, weight, bias, lerps, source, statistics, g0, g1, g2, g3, g4, g5, g6, g7,
    to_self, to_source, sums, rows, channels,
    J: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Of each row, what its own x' and the one it is shifted to receive; of each block, the sums for the lerps."""
    block = tl.program_id(0)
    row = _rows_of(block, ROWS)
    column = tl.arange(0, C)
    mask, inside = row < rows, column < channels
    w = tl.load(weight + column, mask=inside, other=0).to(tl.float32)
    b = tl.load(bias + column, mask=inside, other=0).to(tl.float32)
    here = tl.load(source + row, mask=mask, other=0)
    mean, rstd = tl.load(statistics + row, mask=mask, other=0), tl.load(statistics + rows + row, mask=mask, other=0)
    own = _normalised(x, row, mask, column, inside, w, b, mean, rstd, channels)
    mean, rstd = tl.load(statistics + here), tl.load(statistics + rows + here)
    difference = _normalised(x, here, mask, column, inside, w, b, mean, rstd, channels) - own
    at = row[:, None] * channels + column[None, :]
    full = mask[:, None] & inside[None, :]
    of_source = tl.zeros((ROWS, C), tl.float32)
    total = tl.zeros((ROWS, C), tl.float32)
    for j in tl.static_range(J):
        lerp = tl.load(lerps + j * channels + column, mask=inside, other=0).to(tl.float32)
        if j == 0:
            grad = g0
        elif j == 1:
            grad = g1
        elif j == 2:
            grad = g2
        elif j == 3:
            grad = g3
        elif j == 4:
            grad = g4
        elif j == 5:
            grad = g5
        elif j == 6:
            grad = g6
        else:
            grad = g7
        g = tl.load(grad + at, mask=full, other=0).to(tl.float32)
        of_source += g * lerp[None, :]
        total += g
        tl.store(sums + (block * (J + 2) + j) * channels + column, tl.sum(g * difference, 0), mask=inside)
    tl.store(to_self + at, total - of_source, mask=full)
    tl.store(to_source + at, of_source, mask=full)


@triton.jit(do_not_specialize=["rows"])
def _backward_norm_kernel(
    x, weight, source, statistics, to_self, to_source, grad_x, sums, rows, channels,
    J: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Gather what each x' receives (the rows shifted to it follow it directly), then through the LayerNorm."""
    block = tl.program_id(0)
    row = _rows_of(block, ROWS)
    column = tl.arange(0, C)
    mask, inside = row < rows, column < channels
    full = mask[:, None] & inside[None, :]
    at = row[:, None] * channels + column[None, :]
    grad = tl.load(to_self + at, mask=full, other=0).to(tl.float32)
    is_own = tl.load(source + row, mask=mask, other=-1) == row
    grad += tl.load(to_source + at, mask=full & is_own[:, None], other=0).to(tl.float32)
    follower = row + 1
    follows = tl.load(source + follower, mask=follower < rows, other=-1) == row
    while tl.max(follows.to(tl.int32), 0) > 0:
        its = follower[:, None] * channels + column[None, :]
        grad += tl.load(to_source + its, mask=follows[:, None] & inside[None, :], other=0).to(tl.float32)
        follower += 1
        follows = follows & (tl.load(source + follower, mask=follows & (follower < rows), other=-1) == row)
    w = tl.load(weight + column, mask=inside, other=0).to(tl.float32)
    mean, rstd = tl.load(statistics + row, mask=mask, other=0), tl.load(statistics + rows + row, mask=mask, other=0)
    values = tl.load(x + at, mask=full, other=0).to(tl.float32)
    unit = tl.where(full, (values - mean[:, None]) * rstd[:, None], 0.0)
    scaled = grad * w[None, :]
    level = tl.sum(scaled, 1) / channels
    along = tl.sum(scaled * unit, 1) / channels
    tl.store(grad_x + at, rstd[:, None] * (scaled - level[:, None] - unit * along[:, None]), mask=full)
    tl.store(sums + (block * (J + 2) + J) * channels + column, tl.sum(grad * unit, 0), mask=inside)
    tl.store(sums + (block * (J + 2) + J + 1) * channels + column, tl.sum(tl.where(full, grad, 0.0), 0), mask=inside)


def token_mix_forward(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, before: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mixed [J, N, C], x' [N, C], and mean and reciprocal deviation of each row, float32 [2, N]."""
    rows, channels = x.shape
    mixed, normed = x.new_empty(len(lerps), rows, channels), torch.empty_like(x)
    statistics = x.new_empty(2, rows, dtype=torch.float32)
    sizes = {"ROWS": _ROWS, "C": triton.next_power_of_2(channels), "num_warps": _WARPS}
    grid = (triton.cdiv(rows, _ROWS),)
    _statistics_kernel[grid](x, statistics, rows, channels, eps, **sizes)
    _forward_kernel[grid](
        x,
        weight,
        bias,
        lerps,
        source,
        before,
        statistics,
        mixed,
        normed,
        rows,
        channels,
        HAS_BEFORE=len(before) > 0,
        J=len(lerps),
        **sizes,
    )
    return mixed, normed, statistics


def token_mix_backward(
    x: Tensor, weight: Tensor, bias: Tensor, lerps: Tensor, source: Tensor, statistics: Tensor, grads: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of x, weight, bias and lerps from those of the J <= 8 interpolations [N, C]."""
    rows, channels = x.shape
    count = len(lerps)
    padded = [grads[min(j, count - 1)] for j in range(_MOST_LERPS)]
    to_self, to_source, grad_x = (torch.empty_like(x) for _ in range(3))
    blocks = triton.cdiv(rows, _ROWS)
    sums = x.new_empty(blocks, count + 2, channels, dtype=torch.float32)
    sizes = {"J": count, "ROWS": _ROWS, "C": triton.next_power_of_2(channels), "num_warps": _WARPS}
    _backward_mix_kernel[(blocks,)](
        x, weight, bias, lerps, source, statistics, *padded, to_self, to_source, sums, rows, channels, **sizes
    )
    _backward_norm_kernel[(blocks,)](
        x, weight, source, statistics, to_self, to_source, grad_x, sums, rows, channels, **sizes
    )
    total = sums.sum(0)
    return grad_x, total[count].to(weight.dtype), total[count + 1].to(bias.dtype), total[:count].to(lerps.dtype)
