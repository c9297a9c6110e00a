"""The heads on chosen rows on a GPU, without gradients: recall by the corrected curve, and rating logits.

The definition is rwkv/model/heads.py and `curve_logits` of rwkv/ops/curve.py. Only the results are written.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.arguments import CurveGrid, HeadWeights
from rwkv.ops.triton.blocks import channel_sizes, dot, launch, load_channel_rows, load_channels
from rwkv.ops.triton.reductions import EPS, join_moments, standardised_rows
from rwkv.ops.triton.tuning import LEAST_PRODUCT, product_sizes


@triton.jit
def _prehead(x, norm_weight, norm_bias, asked, inside, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """The rows `asked` of x after the LayerNorm before the heads, [ROWS, C_WIDTH] in the dtype of x."""
    column = tl.arange(0, C_WIDTH)
    row = tl.load(asked, mask=inside, other=0).to(tl.int64)
    values = load_channel_rows(x + row[:, None] * C + column[None, :], C, C_WIDTH)
    unit, _ = standardised_rows(values.to(tl.float32), C, C_WIDTH)
    weight, bias = load_channels(norm_weight, C, C_WIDTH), load_channels(norm_bias, C, C_WIDTH)
    return (unit * weight + bias).to(x.dtype.element_ty)


@triton.jit
def _transposed(weight, first_out, first_in, outputs, inputs, OUT: tl.constexpr, IN: tl.constexpr):
    """A transposed block [IN, OUT] of W [outputs, inputs] from row first_out and column first_in, zero outside."""
    column, out = first_in + tl.arange(0, IN)[:, None], first_out + tl.arange(0, OUT)[None, :]
    return tl.load(weight + out * inputs + column, mask=(column < inputs) & (out < outputs), other=0)


@triton.jit
def number_row(values, first, outputs, OUT: tl.constexpr):
    """OUT of `outputs` numbers from `first`, float32 [1, OUT]; zero beyond the last."""
    out = first + tl.arange(0, OUT)
    return tl.load(values + out, mask=out < outputs, other=0).to(tl.float32)[None, :]


@triton.jit
def active_block(x, block, bias, begin, hidden, INNER: tl.constexpr, precision: tl.constexpr):
    """relu(x @ block + INNER numbers of `bias` from `begin`), [ROWS, INNER] in the dtype of x; block is [C, INNER]."""
    inner = dot(x, block, precision) + number_row(bias, begin, hidden, INNER)
    # tl.maximum of 0 and NaN would be 0.
    return tl.where(inner < 0, 0.0, inner).to(x.dtype)


@triton.jit
def _active(
    x, W, bias, begin, hidden, C: tl.constexpr, C_WIDTH: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """INNER columns of relu(W x + bias) from `begin`, [ROWS, INNER] in the dtype of x [ROWS, C_WIDTH]."""
    return active_block(x, _transposed(W, begin, 0, hidden, C, INNER, C_WIDTH), bias, begin, hidden, INNER, precision)


@triton.jit
def mapped_block(
    active, final, begin, outputs, hidden,
    OUT: tl.constexpr, INNER: tl.constexpr, TERMS: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The contribution of these columns to the final map, float32 [ROWS, OUT]."""
    total = dot(active, _transposed(final, 0, begin, outputs, hidden, OUT, INNER), precision)
    for term in tl.static_range(1, TERMS):
        weight = final + term * outputs * hidden
        total += dot(active, _transposed(weight, 0, begin, outputs, hidden, OUT, INNER), precision)
    return total


@triton.jit
def hidden_head(
    x, W, bias, final, outputs, hidden,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, OUT: tl.constexpr, INNER: tl.constexpr,
    TERMS: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """final @ h, float32 [ROWS, OUT], for h = relu(W @ x + bias) and x [ROWS, C_WIDTH]."""
    total = tl.zeros((ROWS, OUT), tl.float32)
    for begin in range(0, hidden, INNER):
        active = _active(x, W, bias, begin, hidden, C, C_WIDTH, INNER, precision)
        total += mapped_block(active, final, begin, outputs, hidden, OUT, INNER, TERMS, precision)
    return total


@triton.jit
def _normed_head(
    x, W, bias, final, final_sums,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, OUT: tl.constexpr, INNER: tl.constexpr,
    TERMS: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """final (h - mean) / deviation, with as many hidden columns as x; final_sums has the row sums of `final`."""
    total = tl.zeros((ROWS, OUT), tl.float32)
    mean, deviations = tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
    for begin in range(0, C, INNER):
        active = _active(x, W, bias, begin, C, C, C_WIDTH, INNER, precision)
        valid, count = begin + tl.arange(0, INNER) < C, tl.minimum(C - begin, INNER).to(tl.float32)
        mean, deviations = join_moments(mean, deviations, begin, active.to(tl.float32), valid, count)
        total += mapped_block(active, final, begin, OUT, C, OUT, INNER, TERMS, precision)
    rstd = 1.0 / tl.sqrt(deviations / C + EPS)
    return (total - mean[:, None] * number_row(final_sums, 0, OUT, OUT)) * rstd[:, None]


@triton.jit
def between(t, points, CURVES: tl.constexpr):
    """The index of the point right of times t, float64 [ROWS], and the share of the way to it."""
    t = tl.minimum(t, tl.load(points + CURVES - 1))
    before = (tl.load(points + tl.arange(0, CURVES))[None, :] < t[:, None]).to(tl.int32)
    right = tl.maximum(tl.minimum(tl.sum(before, 1), CURVES - 1), 1)
    start = tl.load(points + right - 1)
    return right, ((t - start) / (tl.load(points + right) - start)).to(tl.float32)


@triton.jit
def interpolated(logits, t, points, CURVES: tl.constexpr):
    """Interpolate logits [ROWS, CURVES], given at points float64 [CURVES], at times t, float64 [ROWS]."""
    column = tl.arange(0, CURVES)
    right, share = between(t, points, CURVES)
    at_left = tl.sum(tl.where(column[None, :] == (right - 1)[:, None], logits, 0.0), 1)
    at_right = tl.sum(tl.where(column[None, :] == right[:, None], logits, 0.0), 1)
    return at_left + share * (at_right - at_left)


@triton.jit
def expm1(x, exp_x):
    """e^x - 1 for x <= 0; near 0 by eight terms of its series, with an error of 1e-8."""
    series = 1.0 + x * (1.0 / 8)
    for n in tl.static_range(7, 1, -1):
        series = 1.0 + x * (1.0 / n) * series
    return tl.where(x > -0.5, x * series, exp_x - 1.0)


@triton.jit
def floored_logit(kept, lost, FLOOR: tl.constexpr):
    """Logit of recall, float32 [ROWS], from recall and its complement, both kept away from 0."""
    return tl.log(FLOOR + (1 - 2 * FLOOR) * kept) - tl.log(FLOOR + (1 - 2 * FLOOR) * lost)


@triton.jit
def _mixed_logit(w_logits, t, rates, FLOOR: tl.constexpr, CURVES: tl.constexpr):
    """Logit of recall at times t, float64 [ROWS], by curves of weights softmax(w_logits), float32 [ROWS]."""
    exponent = t.to(tl.float32)[:, None] * tl.load(rates + tl.arange(0, CURVES))[None, :]
    weight = tl.exp(w_logits - tl.max(w_logits, 1)[:, None])
    total = tl.sum(weight, 1)
    each = tl.exp(exponent)
    # Sum recall and its complement separately, since a difference from 1 would lose precision near 1.
    kept = tl.sum(weight * each, 1) / total
    lost = -tl.sum(weight * expm1(exponent, each), 1) / total
    return floored_logit(kept, lost, FLOOR)


@triton.jit(do_not_specialize=["rows", "asked", "elapsed_s"])
def _recall_kernel(
    x, asked, elapsed_s, norm_weight, norm_bias, W_mix, bias_mix, final_mix, final_bias_mix, final_sums_mix,
    W_ahead, bias_ahead, final_ahead, final_bias_ahead, rates, points, p, rows, hidden,
    C: tl.constexpr, C_WIDTH: tl.constexpr, CURVES: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr,
    TERMS: tl.constexpr, FLOOR: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    values = _prehead(x, norm_weight, norm_bias, asked + first + row, inside, C, C_WIDTH)
    t = tl.maximum(tl.load(elapsed_s + first + row, mask=inside, other=1).to(tl.float64), 1.0)
    ahead_logits = hidden_head(
        values, W_ahead, bias_ahead, final_ahead, CURVES, hidden, C, C_WIDTH, ROWS, CURVES, INNER, TERMS, precision
    )
    correction = interpolated(ahead_logits + number_row(final_bias_ahead, 0, CURVES, CURVES), t, points, CURVES)
    w_logits = _normed_head(
        values, W_mix, bias_mix, final_mix, final_sums_mix, C, C_WIDTH, ROWS, CURVES, INNER, TERMS, precision
    )
    w_logits += number_row(final_bias_mix, 0, CURVES, CURVES)
    raw = _mixed_logit(w_logits, t, rates, FLOOR, CURVES)
    tl.store(p + first + row, tl.sigmoid(raw + FLOOR + (1 - 2 * FLOOR) * correction), mask=inside)


@triton.jit(do_not_specialize=["rows", "asked"])
def _ratings_kernel(
    x, asked, norm_weight, norm_bias, W, bias, final, final_bias, logits, rows, hidden,
    C: tl.constexpr, C_WIDTH: tl.constexpr, RATINGS: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr,
    INNER: tl.constexpr, TERMS: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, OUT)
    inside = row < (rows - first).to(tl.int32)
    values = _prehead(x, norm_weight, norm_bias, asked + first + row, inside, C, C_WIDTH)
    result = hidden_head(values, W, bias, final, RATINGS, hidden, C, C_WIDTH, ROWS, OUT, INNER, TERMS, precision)
    result += number_row(final_bias, 0, RATINGS, OUT)
    at = row[:, None] * RATINGS + column[None, :]
    tl.store(logits + first * RATINGS + at, result, mask=inside[:, None] & (column < RATINGS)[None, :])


def recall_at_rows(
    x: Tensor, rows: Tensor, elapsed_s: Tensor, weights: HeadWeights, grid: CurveGrid, floor: float
) -> Tensor:
    """The recall by the corrected curve `elapsed_s` [n] seconds after rows [n] of x [N, C], float32 [n].

    The exponent has a relative error of 2e-7, and so have recall and its complement before they are summed.
    """
    p = x.new_empty(len(rows), dtype=torch.float32)
    sizes = _sizes(x, "recall", weights.ahead.final)
    launch(
        _recall_kernel,
        triton.cdiv(len(rows), sizes["ROWS"]),
        x=x,
        asked=rows,
        elapsed_s=elapsed_s,
        norm_weight=weights.norm_weight,
        norm_bias=weights.norm_bias,
        **{f"{name}_mix": value for name, value in weights.mixture._asdict().items()},
        **{f"{name}_ahead": value for name, value in weights.ahead._asdict().items()},
        **grid._asdict(),
        p=p,
        rows=len(rows),
        hidden=len(weights.ahead.W),
        CURVES=len(grid.rates),
        FLOOR=floor,
        **sizes,
    )
    return p


def rating_logits_at_rows(x: Tensor, rows: Tensor, weights: HeadWeights) -> Tensor:
    """The rating logits of rows [n] of x [N, C], float32 [n, ratings]."""
    ratings = weights.ratings.final.shape[1]
    logits = x.new_empty(len(rows), ratings, dtype=torch.float32)
    sizes = _sizes(x, "ratings", weights.ratings.final)
    launch(
        _ratings_kernel,
        triton.cdiv(len(rows), sizes["ROWS"]),
        x=x,
        asked=rows,
        norm_weight=weights.norm_weight,
        norm_bias=weights.norm_bias,
        **weights.ratings._asdict(),
        logits=logits,
        rows=len(rows),
        hidden=len(weights.ratings.W),
        RATINGS=ratings,
        OUT=max(LEAST_PRODUCT, triton.next_power_of_2(ratings)),
        **sizes,
    )
    return logits


def _sizes(x: Tensor, kernel: str, final: Tensor) -> dict[str, Any]:
    sizes = channel_sizes(x.shape[1])
    return sizes | {"TERMS": len(final), **product_sizes(kernel, x.dtype, sizes["C_WIDTH"])}
