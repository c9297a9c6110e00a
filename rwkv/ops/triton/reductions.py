"""Means and deviations of rows on a GPU, as LayerNorms take them, and sums over many rows in two stages."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops import mixers
from rwkv.ops.triton.tuning import other_sizes

EPS = tl.constexpr(mixers.EPS)


@triton.jit
def standardised_rows(values, C: tl.constexpr):
    """Rows [ROWS, C] less their mean and over their deviation, and 1 / deviation [ROWS]."""
    centred = values - (tl.sum(values, 1) / C)[:, None]
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + EPS)
    return centred * rstd[:, None], rstd


@triton.jit
def join_moments(mean, deviations, before, values, there, count):
    """Mean and squared deviations [ROWS] of `before` columns and of `count` more, values [ROWS, W] where there.

    The others are zero. No difference of large sums is taken, so rows may lie far from zero.
    """
    of_block = tl.sum(values, 1) / count
    centred = tl.where(there[None, :], values - of_block[:, None], 0.0)
    step = of_block - mean
    deviations += tl.sum(centred * centred, 1) + step * step * (before * count / (before + count))
    return mean + step * (count / (before + count)), deviations


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
    (blocks, *shape), sizes = sums.shape, other_sizes("sum_blocks")
    total = sums.new_empty(shape, dtype=dtype)
    grid = (triton.cdiv(total.numel(), sizes["COLUMNS"]),)
    _sum_kernel[grid](sums, total, blocks, total.numel(), **sizes)
    return total
