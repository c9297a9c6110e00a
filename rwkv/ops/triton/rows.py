"""Rows of a tensor in another order on a GPU, defined by `take_rows` of rwkv/ops/groups.py."""
# mypy: allow-untyped-defs, allow-untyped-calls

import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.blocks import channel_sizes, channels_of, launch
from rwkv.ops.triton.tuning import other_sizes


@triton.jit(do_not_specialize=["rows"])
def _take_kernel(x, order, y, rows, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, C_WIDTH)
    inside = row < (rows - first).to(tl.int32)
    source = tl.load(order + first + row, mask=inside, other=0).to(tl.int64)
    mask = channels_of(inside, C, C_WIDTH)
    values = tl.load(x + source[:, None] * C + column[None, :], mask=mask, other=0)
    tl.store(y + first * C + (row[:, None] * C + column[None, :]), values, mask=mask)


def take_rows(x: Tensor, order: Tensor) -> Tensor:
    """x[order] for contiguous x [M, C] and order int64 or int32 [N]."""
    rows, channels, sizes = len(order), x.shape[1], other_sizes("take_rows")
    y = x.new_empty(rows, channels)
    programs = triton.cdiv(rows, sizes["ROWS"])
    launch(_take_kernel, programs, x=x, order=order, y=y, rows=rows, **channel_sizes(channels), **sizes)
    return y
