"""The last map of a time mixer on a GPU with its dropout and residual, as one kernel forward and one backward."""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import channel_sizes, channels_of, dot, launch, load_float
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.tuning import product_sizes


@triton.jit
def _square_block(W, first_row, first_column, C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """A block [HEIGHT, WIDTH] of W [C, C], zero outside."""
    row, column = first_row + tl.arange(0, HEIGHT)[:, None], first_column + tl.arange(0, WIDTH)[None, :]
    return tl.load(W + row * C + column, mask=(row < C) & (column < C), other=0)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _forward_kernel(
    x, W, residual, seed, y, rows, site, threshold, scale,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    values = tl.load(x + first * C + at, mask=channels_of(inside, C, C_WIDTH), other=0)
    for begin in tl.static_range(0, C_WIDTH, INNER):
        out = begin + tl.arange(0, INNER)
        out_at, mask = row[:, None] * C + out[None, :], inside[:, None] & (out < C)[None, :]
        result = dot(values, tl.trans(_square_block(W, begin, 0, C, INNER, C_WIDTH)), precision)
        result = dropped(result, first * C, out_at, C, seed, site, threshold, scale)
        result += load_float(residual, first * C, out_at, mask)
        tl.store(y + first * C + out_at, result, mask=mask)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def _backward_kernel(
    W, of_y, seed, of_map, of_x, rows, site, threshold, scale,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The gradients of the map's result and of x."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    at, full = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :], channels_of(inside, C, C_WIDTH)
    grad = load_float(of_y, first * C, at, full)
    grad = dropped(grad, first * C, at, C, seed, site, threshold, scale).to(of_y.dtype.element_ty)
    tl.store(of_map + first * C + at, grad, mask=full)
    for begin in tl.static_range(0, C_WIDTH, INNER):
        out = begin + tl.arange(0, INNER)
        mask = inside[:, None] & (out < C)[None, :]
        result = dot(grad, _square_block(W, 0, begin, C, C_WIDTH, INNER), precision)
        tl.store(of_x + first * C + (row[:, None] * C + out[None, :]), result, mask=mask)


def output_map(x: Tensor, W: Tensor, drop: Drop, residual: Tensor) -> Tensor:
    """residual + drop(W x) of contiguous rows x [N, C], with W [C, C]."""
    y, sizes = torch.empty_like(x), _sizes(x)
    programs = triton.cdiv(len(x), sizes["ROWS"])
    given: dict[str, Any] = {"x": x, "W": W, "residual": residual, "y": y, "rows": len(x)}
    launch(_forward_kernel, programs, **given, **drop.arguments, **sizes)
    return y


def output_map_backward(W: Tensor, drop: Drop, of_y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of W x, from which that of W follows, and of x, from that of the result."""
    of_map, of_x, sizes = torch.empty_like(of_y), torch.empty_like(of_y), _sizes(of_y)
    programs = triton.cdiv(len(of_y), sizes["ROWS"])
    given: dict[str, Any] = {"W": W, "of_y": of_y, "of_map": of_map, "of_x": of_x, "rows": len(of_y)}
    launch(_backward_kernel, programs, **given, **drop.arguments, **sizes)
    return of_map, of_x


def _sizes(x: Tensor) -> dict[str, Any]:
    sizes = channel_sizes(x.shape[1])
    products = product_sizes("output_map", x.dtype, sizes["C_WIDTH"])
    return sizes | products | {"INNER": min(products["INNER"], sizes["C_WIDTH"])}
