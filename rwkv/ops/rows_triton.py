"""Means and deviations of rows on a GPU, as LayerNorms take them."""
# mypy: allow-untyped-defs, allow-untyped-calls

import triton
import triton.language as tl

from rwkv.ops import token_mix

EPS = tl.constexpr(token_mix.EPS)


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
