"""Activation, LayerNorm and dropout of rows as one kernel forward and one backward on a GPU.

The definition is rwkv/ops/activated_norm.py. Only the rows before the activation are kept.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import channel_sizes, channels_of, launch, load_channels, load_float, store_channels
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.reductions import standardised_rows, sum_blocks
from rwkv.ops.triton.tuning import other_sizes


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    """The activation of x, and its derivative."""
    if ACTIVATION == "relu":
        # A row that is NaN stays so.
        return tl.where(x < 0, 0.0, x), tl.where(x > 0, 1.0, 0.0)
    elif ACTIVATION == "silu":
        share = tl.sigmoid(x)
        return x * share, share * (1 + x * (1 - share))
    else:
        return x, tl.full(x.shape, 1.0, tl.float32)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _norm_kernel(
    x, weight, bias, seed, y, rows, site, threshold, scale,
    ACTIVATION: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    w, b = load_channels(weight, C, C_WIDTH), load_channels(bias, C, C_WIDTH)
    for step in range(STEPS):
        first = (tl.program_id(0).to(tl.int64) * STEPS + step) * ROWS
        row = tl.arange(0, ROWS)
        mask = channels_of(row < (rows - first).to(tl.int32), C, C_WIDTH)
        at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
        values, _ = _activated(load_float(x, first * C, at, mask), ACTIVATION)
        unit, _ = standardised_rows(values, C, C_WIDTH)
        kept = dropped(unit * w + b, first * C, at, C, seed, site, threshold, scale)
        tl.store(y + first * C + at, kept, mask=mask)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _norm_backward_kernel(
    x, weight, seed, of_y, of_x, sums, rows, site, threshold, scale,
    ACTIVATION: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """The gradient of x; sums, float32 [programs, 2, C], gets those of weight and bias."""
    w = load_channels(weight, C, C_WIDTH)
    of_weight, of_bias = tl.zeros((ROWS, C_WIDTH), tl.float32), tl.zeros((ROWS, C_WIDTH), tl.float32)
    for step in range(STEPS):
        first = (tl.program_id(0).to(tl.int64) * STEPS + step) * ROWS
        row = tl.arange(0, ROWS)
        mask = channels_of(row < (rows - first).to(tl.int32), C, C_WIDTH)
        at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
        values, slope = _activated(load_float(x, first * C, at, mask), ACTIVATION)
        grad = load_float(of_y, first * C, at, mask)
        grad = dropped(grad, first * C, at, C, seed, site, threshold, scale)
        unit, rstd = standardised_rows(values, C, C_WIDTH)
        of_weight += grad * unit
        of_bias += grad
        scaled = grad * w
        level, along = tl.sum(scaled, 1) / C, tl.sum(scaled * unit, 1) / C
        result = rstd[:, None] * (scaled - level[:, None] - unit * along[:, None]) * slope
        tl.store(of_x + first * C + at, result, mask=mask)
    total = sums + tl.program_id(0).to(tl.int64) * 2 * C + tl.arange(0, C_WIDTH)
    store_channels(total, tl.sum(of_weight, 0), C, C_WIDTH)
    store_channels(total + C, tl.sum(of_bias, 0), C, C_WIDTH)


def activated_norm(x: Tensor, activation: str, weight: Tensor, bias: Tensor, drop: Drop) -> Tensor:
    """drop(LayerNorm(activation(x))) of contiguous x [N, C]."""
    y, sizes = torch.empty_like(x), _sizes(x, activation)
    programs = triton.cdiv(len(x), sizes["ROWS"] * sizes["STEPS"])
    launch(_norm_kernel, programs, x=x, weight=weight, bias=bias, y=y, rows=len(x), **drop.arguments, **sizes)
    return y


def activated_norm_backward(
    x: Tensor, activation: str, weight: Tensor, drop: Drop, of_y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias."""
    of_x, sizes = torch.empty_like(x), _sizes(x, activation)
    programs = triton.cdiv(len(x), sizes["ROWS"] * sizes["STEPS"])
    sums = x.new_empty(programs, 2, x.shape[1], dtype=torch.float32)
    given = {"x": x, "weight": weight, "of_y": of_y, "rows": len(x), **drop.arguments, **sizes}
    launch(_norm_backward_kernel, programs, **given, of_x=of_x, sums=sums)
    of_weight, of_bias = sum_blocks(sums, weight.dtype)
    return of_x, of_weight, of_bias


def _sizes(x: Tensor, activation: str) -> dict[str, Any]:
    widths, sizes = channel_sizes(x.shape[1]), dict(other_sizes("activated_norm"))
    rows = max(1, sizes.pop("ELEMENTS") // widths["C_WIDTH"])
    return {"ACTIVATION": activation, "ROWS": rows, **widths, **sizes}
