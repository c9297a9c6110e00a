"""Reductions on a GPU: means and deviations of rows for LayerNorms, and sums over many rows in two stages."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops import shift
from rwkv.ops.triton.blocks import launch
from rwkv.ops.triton.tuning import other_sizes

EPS = tl.constexpr(shift.EPS)


@triton.jit
def standardised_rows(values, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """Standardise rows: (values - mean) / deviation [ROWS, C_WIDTH], and 1 / deviation [ROWS]."""
    centred = values - (tl.sum(values, 1) / C)[:, None]
    if C_WIDTH != C:
        centred = tl.where((tl.arange(0, C_WIDTH) < C)[None, :], centred, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + EPS)
    return centred * rstd[:, None], rstd


@triton.jit
def join_moments(mean, deviations, before, values, valid, count):
    """Update the mean and the squared deviations [ROWS] of `before` columns by `count` more columns.

    The new values are [ROWS, W] where the mask `valid` holds, and zero elsewhere. No large sums are subtracted, so the
    mean of a row may be far from zero.
    """
    of_block = tl.sum(values, 1) / count
    centred = tl.where(valid[None, :], values - of_block[:, None], 0.0)
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
    """Sum contiguous float32 [blocks, ...] over blocks in float32 and a fixed order; the result [...] has `dtype`."""
    (blocks, *shape), sizes = sums.shape, other_sizes("sum_blocks")
    total = sums.new_empty(shape, dtype=dtype)
    programs = triton.cdiv(total.numel(), sizes["COLUMNS"])
    launch(_sum_kernel, programs, sums=sums, total=total, blocks=blocks, columns=total.numel(), **sizes)
    return total
