"""The last stage of sums over many rows on a GPU: each block of rows has left its own, and these are added up."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_SIZES = {"BLOCKS": 1024, "COLUMNS": 8, "num_warps": 8}


@triton.jit(do_not_specialize=["blocks"])
def _sum_kernel(sums, total, blocks, columns, BLOCKS: tl.constexpr, COLUMNS: tl.constexpr):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    part = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    for first in range(0, blocks, BLOCKS):
        block = first + tl.arange(0, BLOCKS)[:, None]
        part += tl.load(sums + block * columns + column, mask=(block < blocks) & (column < columns), other=0)
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    tl.store(total + at, tl.sum(part, 0), mask=at < columns)


def sum_blocks(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """sums: float32 [blocks, ...], contiguous -> [...] in `dtype`, added up in float32, always in the same order."""
    blocks, *shape = sums.shape
    total = sums.new_empty(shape, dtype=dtype)
    grid = (triton.cdiv(total.numel(), _SIZES["COLUMNS"]),)
    _sum_kernel[grid](sums, total, blocks, total.numel(), **_SIZES)
    return total
