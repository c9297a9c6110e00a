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


# Not specialised: the numbers differ from use to use, and each would be compiled anew.
@triton.jit(do_not_specialize=["entries", "site", "threshold"])
def _dropout_kernel(x, residual, y, seed, entries, site, threshold, scale, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    offset = tl.arange(0, BLOCK)
    mask = offset < entries - first
    site_key = site.to(tl.uint32) * tl.full((), 0x9E3779B9, tl.uint32)
    key = _mix(tl.load(seed).to(tl.uint32) ^ site_key)
    index = first.to(tl.uint32) + offset.to(tl.uint32)
    hashed = _mix(index * tl.full((), 0x9E3779B1, tl.uint32) + key)
    values = tl.load(x + first + offset, mask=mask, other=0).to(tl.float32)
    kept = tl.where(hashed >= threshold.to(tl.uint32), values * scale, 0.0)
    if residual is not None:
        kept += tl.load(residual + first + offset, mask=mask, other=0).to(tl.float32)
    tl.store(y + first + offset, kept, mask=mask)


def hash_dropout(x: Tensor, threshold: int, scale: float, seed: Tensor, site: int, residual: Tensor | None) -> Tensor:
    """x with the entries zeroed whose hash is below `threshold`, the others times `scale`, plus `residual`."""
    y = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), _BLOCK),)
    if x.numel():
        _dropout_kernel[grid](x, residual, y, seed, x.numel(), site, threshold, scale, BLOCK=_BLOCK)
    return y
