"""The numbers of the loss that come from a row's curve on a GPU, with gradients, defined by `curve_rows_reference`.

The definition is in rwkv/ops/curve.py. The backward pass recomputes the weights, so nothing of 128 columns is kept.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.forgetting_curve import FLOOR
from rwkv.ops.triton.arguments import CurveGrid
from rwkv.ops.triton.blocks import launch
from rwkv.ops.triton.heads import between, expm1, floored_logit, interpolated
from rwkv.ops.triton.tuning import other_sizes

# The numbers of a row, in the order of `CurveRows`.
_NUMBERS = 5


@triton.jit
def _recalled(logits, t, rates, CURVES: tl.constexpr):
    """Weights and, at times t, recall by each curve and recall - 1 [ROWS, CURVES]; log of the sum of weights [ROWS]."""
    exponent = t.to(tl.float32)[:, None] * tl.load(rates + tl.arange(0, CURVES))[None, :]
    largest = tl.max(logits, 1)
    weight = tl.exp(logits - largest[:, None])
    total = tl.sum(weight, 1)
    each = tl.exp(exponent)
    return weight / total[:, None], each, expm1(exponent, each), largest + tl.log(total)


@triton.jit
def _differences(ahead, at, column, inside, CURVES: tl.constexpr):
    """Corrections [ROWS, CURVES] and their differences to the right and to the left, 0 where there is no neighbour."""
    values = tl.load(ahead + at, mask=inside[:, None], other=0)
    has_right, has_left = (column < CURVES - 1)[None, :], (column > 0)[None, :]
    right = tl.load(ahead + at + 1, mask=inside[:, None] & has_right, other=0)
    left = tl.load(ahead + at - 1, mask=inside[:, None] & has_left, other=0)
    return values, tl.where(has_right, right - values, 0.0), tl.where(has_left, values - left, 0.0)


@triton.jit
def _root_mean_square(values, count, LEAST: tl.constexpr):
    return tl.sqrt(LEAST + tl.sum(values * values, 1) / count)


@triton.jit(do_not_specialize=["rows"])
def _curve_rows_kernel(
    w_logits, ahead_logits, elapsed_s, rates, points, numbers, rows,
    ROWS: tl.constexpr, CURVES: tl.constexpr, FLOOR: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """Write the numbers of rows, float32 [5, rows]."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, CURVES)
    inside = row < (rows - first).to(tl.int32)
    at = first * CURVES + row[:, None] * CURVES + column[None, :]
    t = tl.maximum(tl.load(elapsed_s + first + row, mask=inside, other=1).to(tl.float64), 1.0)
    logits = tl.load(w_logits + at, mask=inside[:, None], other=0)
    weight, each, less_one, log_sum = _recalled(logits, t, rates, CURVES)
    kept, lost = tl.sum(weight * each, 1), -tl.sum(weight * less_one, 1)
    raw = floored_logit(kept, lost, FLOOR)

    values, to_right, _ = _differences(ahead_logits, at, column, inside, CURVES)
    correction = FLOOR + (1 - 2 * FLOOR) * interpolated(values, t, points, CURVES)

    out = numbers + first + row
    tl.store(out, raw, mask=inside)
    tl.store(out + rows, raw + correction, mask=inside)
    even = -tl.log(CURVES + 0.0)
    tl.store(out + 2 * rows, (even + log_sum - tl.sum(logits, 1) / CURVES) / CURVES, mask=inside)
    tl.store(out + 3 * rows, _root_mean_square(values, CURVES, LEAST), mask=inside)
    tl.store(out + 4 * rows, _root_mean_square(to_right, CURVES - 1, LEAST), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _curve_rows_backward_kernel(
    w_logits, ahead_logits, elapsed_s, rates, points, numbers, of_numbers, of_w, of_ahead, rows,
    ROWS: tl.constexpr, CURVES: tl.constexpr, FLOOR: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, CURVES)
    inside = row < (rows - first).to(tl.int32)
    at = first * CURVES + row[:, None] * CURVES + column[None, :]
    t = tl.maximum(tl.load(elapsed_s + first + row, mask=inside, other=1).to(tl.float64), 1.0)
    given = of_numbers + first + row
    of_corrected = tl.load(given + rows, mask=inside, other=0)
    of_raw = tl.load(given, mask=inside, other=0) + of_corrected
    of_divergence = tl.load(given + 2 * rows, mask=inside, other=0) / CURVES

    logits = tl.load(w_logits + at, mask=inside[:, None], other=0)
    weight, each, less_one, _ = _recalled(logits, t, rates, CURVES)
    # The derivatives of the logits of recall and of its complement by kept and by lost recall.
    kept, lost = tl.sum(weight * each, 1), -tl.sum(weight * less_one, 1)
    by_kept = (1 - 2 * FLOOR) / (FLOOR + (1 - 2 * FLOOR) * kept)
    by_lost = (1 - 2 * FLOOR) / (FLOOR + (1 - 2 * FLOOR) * lost)
    by_weight = each * by_kept[:, None] + less_one * by_lost[:, None]
    mean = kept * by_kept - lost * by_lost
    grad = of_raw[:, None] * weight * (by_weight - mean[:, None]) + of_divergence[:, None] * (weight - 1.0 / CURVES)
    tl.store(of_w + at, grad, mask=inside[:, None])

    values, to_right, to_left = _differences(ahead_logits, at, column, inside, CURVES)
    right, share = between(t, points, CURVES)
    near = tl.where(column[None, :] == (right - 1)[:, None], (1 - share)[:, None], 0.0)
    near = tl.where(column[None, :] == right[:, None], share[:, None], near)
    magnitude = tl.load(numbers + first + row + 3 * rows, mask=inside, other=1)
    roughness = tl.load(numbers + first + row + 4 * rows, mask=inside, other=1)
    of_magnitude = tl.load(given + 3 * rows, mask=inside, other=0) / (CURVES * magnitude)
    of_roughness = tl.load(given + 4 * rows, mask=inside, other=0) / ((CURVES - 1) * roughness)
    grad = (of_corrected * (1 - 2 * FLOOR))[:, None] * near + of_magnitude[:, None] * values
    grad += of_roughness[:, None] * (to_left - to_right)
    tl.store(of_ahead + at, grad, mask=inside[:, None])


def curve_rows(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor, grid: CurveGrid, least: float) -> Tensor:
    """The numbers of N rows, float32 [5, N], from contiguous float32 logits [N, 128] and seconds [N]."""
    numbers = w_logits.new_empty(_NUMBERS, len(w_logits))
    given = _arguments(w_logits, ahead_logits, elapsed_s, grid)
    launch(_curve_rows_kernel, *_programs(w_logits), **given, numbers=numbers, LEAST=least)
    return numbers


def curve_rows_backward(
    w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor, grid: CurveGrid, numbers: Tensor, of_numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of both logits from those of the numbers, [5, N]."""
    of_w, of_ahead = torch.empty_like(w_logits), torch.empty_like(ahead_logits)
    given = _arguments(w_logits, ahead_logits, elapsed_s, grid)
    written = {"numbers": numbers, "of_numbers": of_numbers, "of_w": of_w, "of_ahead": of_ahead}
    launch(_curve_rows_backward_kernel, *_programs(w_logits), **given, **written)
    return of_w, of_ahead


def _programs(w_logits: Tensor) -> tuple[int]:
    return (triton.cdiv(len(w_logits), other_sizes("curve_rows")["ROWS"]),)


def _arguments(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor, grid: CurveGrid) -> dict[str, Any]:
    rows, curves = w_logits.shape
    return {
        "w_logits": w_logits,
        "ahead_logits": ahead_logits,
        "elapsed_s": elapsed_s,
        **grid._asdict(),
        "rows": rows,
        "CURVES": curves,
        "FLOOR": FLOOR,
        **other_sizes("curve_rows"),
    }
