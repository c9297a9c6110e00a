"""Hashed dropout on a GPU. See rwkv/ops/dropout.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _mix(z):
    z = (z ^ (z >> 16)) * tl.full((), 0x7FEB352D, tl.uint32)
    z = (z ^ (z >> 15)) * tl.full((), 0x846CA68B, tl.uint32)
    return z ^ (z >> 16)


@triton.jit
def _dropout_kernel(x, y, seed, entries, site, threshold, scale, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = index < entries
    site_key = site.to(tl.uint32) * tl.full((), 0x9E3779B9, tl.uint32)
    key = _mix(tl.load(seed).to(tl.uint32) ^ site_key)
    hashed = _mix(index.to(tl.uint32) * tl.full((), 0x9E3779B1, tl.uint32) + key)
    values = tl.load(x + index, mask=mask, other=0).to(tl.float32)
    tl.store(y + index, tl.where(hashed >= threshold.to(tl.uint32), values * scale, 0.0), mask=mask)


def dropout_triton(x: Tensor, threshold: int, scale: float, seed: Tensor, site: int) -> Tensor:
    """x with the entries zeroed whose hash is below `threshold`, the others times `scale`."""
    y = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), _BLOCK),)
    if x.numel():
        _dropout_kernel[grid](x, y, seed, x.numel(), site, threshold, scale, BLOCK=_BLOCK)
    return y
