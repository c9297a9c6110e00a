"""The maps of the heads on a GPU in training: exact products of rows with float32 maps, and their backward pass.

They are defined by rwkv/ops/heads.py. A hidden layer is recomputed block by block in the backward pass, so nothing of
its width is kept. Gradients of logits are rounded to the dtype of the rows, as those of all other layers.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.blocks import channel_sizes, channels_of, dot, launch
from rwkv.ops.triton.heads import active_block, hidden_head, mapped_block, number_row
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.tuning import LEAST_PRODUCT, other_sizes, product_sizes


@triton.jit
def _rows_of(x, first, row, inside, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """Rows [ROWS, C_WIDTH] of x [N, C] from `first`."""
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    return tl.load(x + first * C + at, mask=channels_of(inside, C, C_WIDTH), other=0)


@triton.jit(do_not_specialize=["rows"])
def _head_kernel(
    x, W, bias, final, final_bias, logits, rows, hidden,
    C: tl.constexpr, C_WIDTH: tl.constexpr, OUTPUTS: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr,
    INNER: tl.constexpr, TERMS: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Logits of a head with a hidden layer; without one, W is None and `final` maps the C channels of x."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, OUT)
    inside = row < (rows - first).to(tl.int32)
    values = _rows_of(x, first, row, inside, C, C_WIDTH)
    if W is None:
        result = mapped_block(values, final, 0, OUTPUTS, C, OUT, C_WIDTH, TERMS, precision)
    else:
        result = hidden_head(values, W, bias, final, OUTPUTS, hidden, C, C_WIDTH, ROWS, OUT, INNER, TERMS, precision)
    result += number_row(final_bias, 0, OUTPUTS, OUT)
    at = row[:, None] * OUTPUTS + column[None, :]
    tl.store(logits + first * OUTPUTS + at, result, mask=inside[:, None] & (column < OUTPUTS)[None, :])


@triton.jit
def _weight_block(weight, begin, limit, C: tl.constexpr, C_WIDTH: tl.constexpr, INNER: tl.constexpr):
    """INNER rows of W [limit, C] from `begin`, [INNER, C_WIDTH], zero outside."""
    row, column = begin + tl.arange(0, INNER)[:, None], tl.arange(0, C_WIDTH)[None, :]
    mask = row < limit
    if C_WIDTH != C:
        mask = mask & (column < C)
    return tl.load(weight + row * C + column, mask=mask, other=0)


@triton.jit(do_not_specialize=["rows"])
def _head_backward_kernel(
    x, W, bias, final, of_logits, of_x, active_out, of_inner, sums, rows, hidden,
    C: tl.constexpr, C_WIDTH: tl.constexpr, OUTPUTS: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr,
    INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and the inputs of the products for those of the weights; sums is float32 [blocks, hidden]."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    values = _rows_of(x, first, row, inside, C, C_WIDTH)
    grad = _rows_of(of_logits, first, row, inside, OUTPUTS, OUT)
    total = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, hidden, INNER):
        place = begin + tl.arange(0, INNER)
        at = row[:, None] * hidden + place[None, :]
        valid = inside[:, None] & (place < hidden)[None, :]
        weight = _weight_block(W, begin, hidden, C, C_WIDTH, INNER)
        active = active_block(values, tl.trans(weight), bias, begin, hidden, INNER, precision)
        tl.store(active_out + first * hidden + at, active, mask=valid)
        out = tl.arange(0, OUT)[:, None]
        map_block = tl.load(
            final + out * hidden + place[None, :], mask=(out < OUTPUTS) & (place < hidden)[None, :], other=0
        )
        # Rows outside have zero gradients. A row that is NaN stays so: its active columns are NaN.
        of_block = tl.where(active <= 0, 0.0, dot(grad, map_block, precision)).to(x.dtype.element_ty)
        tl.store(of_inner + first * hidden + at, of_block, mask=valid)
        tl.store(
            sums + tl.program_id(0).to(tl.int64) * hidden + place,
            tl.sum(of_block.to(tl.float32), 0),
            mask=place < hidden,
        )
        total += dot(of_block, weight, precision)
    x_at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    tl.store(of_x + first * C + x_at, total, mask=channels_of(inside, C, C_WIDTH))


@triton.jit(do_not_specialize=["rows"])
def _columns_kernel(x, rounded, sums, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr):
    """Sums over ROWS * STEPS rows of each column; `rounded` gets x in its own dtype, unless it is None."""
    first = tl.program_id(0).to(tl.int64) * ROWS * STEPS
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(STEPS):
        row = step * ROWS + tl.arange(0, ROWS)
        mask = (row < (rows - first).to(tl.int32))[:, None] & (column < columns)[None, :]
        at = row[:, None] * columns + column[None, :]
        values = tl.load(x + first * columns + at, mask=mask, other=0)
        if rounded is not None:
            tl.store(rounded + first * columns + at, values, mask=mask)
        total += values.to(tl.float32)
    tl.store(sums + tl.program_id(0).to(tl.int64) * columns + column, tl.sum(total, 0), mask=column < columns)


def head_logits(x: Tensor, W: Tensor | None, bias: Tensor | None, final: Tensor, final_bias: Tensor) -> Tensor:
    """final relu(W x + bias) + final_bias, float32 [N, outputs]; W None: final x + final_bias.

    `final` is the sum of its terms [terms, outputs, hidden] in the dtype of x.
    """
    terms, outputs, hidden = final.shape
    logits = x.new_empty(len(x), outputs, dtype=torch.float32)
    sizes = _sizes("head_maps", x, outputs)
    launch(
        _head_kernel,
        triton.cdiv(len(x), sizes["ROWS"]),
        x=x,
        W=W,
        bias=bias,
        final=final,
        final_bias=final_bias,
        logits=logits,
        rows=len(x),
        hidden=hidden,
        TERMS=terms,
        **sizes,
    )
    return logits


def hidden_backward(
    x: Tensor, W: Tensor, bias: Tensor, final: Tensor, of_logits: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, W, bias and `final` [outputs, hidden], all in the dtype of x, like of_logits."""
    outputs, hidden = final.shape
    sizes = _sizes("head_maps_backward", x, outputs)
    blocks = triton.cdiv(len(x), sizes["ROWS"])
    of_x, active, of_inner = torch.empty_like(x), x.new_empty(len(x), hidden), x.new_empty(len(x), hidden)
    sums = x.new_empty(blocks, hidden, dtype=torch.float32)
    launch(
        _head_backward_kernel,
        blocks,
        x=x,
        W=W,
        bias=bias,
        final=final,
        of_logits=of_logits,
        of_x=of_x,
        active_out=active,
        of_inner=of_inner,
        sums=sums,
        rows=len(x),
        hidden=hidden,
        **sizes,
    )
    return of_x, of_inner.T @ x, sum_blocks(sums, bias.dtype), of_logits.T @ active


def column_sums(x: Tensor, dtype: torch.dtype, rounded: Tensor | None = None) -> Tensor:
    """The sums of the columns of contiguous x [N, D], [D] in a dtype; x is also copied into `rounded` [N, D]."""
    (rows, columns), sizes = x.shape, other_sizes("column_sums")
    blocks = triton.cdiv(rows, sizes["ROWS"] * sizes["STEPS"])
    sums = x.new_empty(blocks, columns, dtype=torch.float32)
    programs = blocks, triton.cdiv(columns, sizes["COLUMNS"])
    launch(_columns_kernel, *programs, x=x, rounded=rounded, sums=sums, rows=rows, columns=columns, **sizes)
    return sum_blocks(sums, dtype)


def _sizes(kernel: str, x: Tensor, outputs: int) -> dict[str, Any]:
    sizes = channel_sizes(x.shape[1])
    out = {"OUTPUTS": outputs, "OUT": max(LEAST_PRODUCT, triton.next_power_of_2(outputs))}
    return sizes | out | product_sizes(kernel, x.dtype, sizes["C_WIDTH"])
