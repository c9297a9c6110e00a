"""Sums of columns on a GPU, for the gradients of biases."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _BLOCK = 256, 32


@triton.jit(do_not_specialize=["rows"])
def _sums_kernel(x, sums, rows, channels, ROWS: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    column = tl.arange(0, C)
    first = tl.program_id(0).to(tl.int64) * ROWS
    total = tl.zeros((C,), tl.float32)
    for start in range(0, ROWS, BLOCK):
        row = first + start + tl.arange(0, BLOCK)
        mask = (row < rows)[:, None] & (column < channels)[None, :]
        total += tl.sum(tl.load(x + row[:, None] * channels + column[None, :], mask=mask, other=0).to(tl.float32), 0)
    tl.store(sums + tl.program_id(0).to(tl.int64) * channels + column, total, mask=column < channels)


def column_sums(x: Tensor) -> Tensor:
    """The sum over the rows of x [N, D], added up in float32: [D] in the dtype of x."""
    rows, channels = x.shape
    blocks = triton.cdiv(rows, _ROWS)
    sums = x.new_empty(blocks, channels, dtype=torch.float32)
    if rows:
        width = triton.next_power_of_2(channels)
        _sums_kernel[(blocks,)](x, sums, rows, channels, ROWS=_ROWS, C=width, BLOCK=max(1, min(_BLOCK, 4096 // width)))
    return sums.sum(0).to(x.dtype)
