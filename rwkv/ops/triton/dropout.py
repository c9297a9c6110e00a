"""Hashed dropout on a GPU, defined by rwkv/ops/dropout.py."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import launch
from rwkv.ops.triton.tuning import other_sizes


@triton.jit
def _mix(z):
    z = (z ^ (z >> 16)) * tl.full((), 0x7FEB352D, tl.uint32)
    z = (z ^ (z >> 15)) * tl.full((), 0x846CA68B, tl.uint32)
    return z ^ (z >> 16)


@triton.jit
def dropped(values, first, at, width, seed, site, threshold, scale):
    """Zero float32 values whose hash is below `threshold` and multiply the others by `scale`.

    `first + at` is the index of each value in its tensor, whose rows have `width` values. `seed` is a pointer, or None
    for no dropout.
    """
    if seed is None:
        return values
    else:
        site_key = site.to(tl.uint32) * tl.full((), 0x9E3779B9, tl.uint32)
        number = tl.load(seed)
        key = _mix(number.to(tl.uint32) ^ site_key)
        index = (number >> 32).to(tl.uint32) * width + first.to(tl.uint32) + at.to(tl.uint32)
        hashed = _mix(index * tl.full((), 0x9E3779B1, tl.uint32) + key)
        return tl.where(hashed >= threshold.to(tl.uint32), values * scale, 0.0)


# Not specialised, since these numbers change with every use and each would be compiled again. `entries` is
# specialised, since entries are loaded 16 bytes at a time only if their number is known to be a multiple of 16.
@triton.jit(do_not_specialize=["width", "site", "threshold"])
def _dropout_kernel(x, residual, y, seed, entries, width, site, threshold, scale, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    offset = tl.arange(0, BLOCK)
    mask = offset < entries - first
    values = tl.load(x + first + offset, mask=mask, other=0).to(tl.float32)
    kept = dropped(values, first, offset, width, seed, site, threshold, scale)
    if residual is not None:
        kept += tl.load(residual + first + offset, mask=mask, other=0).to(tl.float32)
    tl.store(y + first + offset, kept, mask=mask)


def hash_dropout(x: Tensor, drop: Drop, residual: Tensor | None) -> Tensor:
    """drop(x), plus the residual if there is one."""
    y, sizes = torch.empty_like(x), other_sizes("dropout")
    blocks = triton.cdiv(x.numel(), sizes["BLOCK"])
    shape = {"entries": x.numel(), "width": x.shape[-1]}
    launch(_dropout_kernel, blocks, x=x, residual=residual, y=y, **shape, **drop.arguments, **sizes)
    return y
