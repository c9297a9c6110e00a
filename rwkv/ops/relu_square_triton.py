"""max(0, x)^2 on a GPU. See rwkv/ops/relu_square.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048


@triton.jit(do_not_specialize=["entries"])
def _forward_kernel(x, y, entries, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    values = tl.maximum(tl.load(x + at, mask=at < entries, other=0).to(tl.float32), 0.0)
    tl.store(y + at, values * values, mask=at < entries)


@triton.jit(do_not_specialize=["entries"])
def _backward_kernel(x, grad, grad_x, entries, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    values = tl.maximum(tl.load(x + at, mask=at < entries, other=0).to(tl.float32), 0.0)
    tl.store(grad_x + at, 2 * values * tl.load(grad + at, mask=at < entries, other=0).to(tl.float32), mask=at < entries)


def relu_square_forward(x: Tensor) -> Tensor:
    """max(0, x)^2."""
    y = torch.empty_like(x)
    if x.numel():
        _forward_kernel[(triton.cdiv(x.numel(), _BLOCK),)](x, y, x.numel(), BLOCK=_BLOCK)
    return y


def relu_square_backward(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient of x."""
    grad_x = torch.empty_like(x)
    if x.numel():
        _backward_kernel[(triton.cdiv(x.numel(), _BLOCK),)](x, grad, grad_x, x.numel(), BLOCK=_BLOCK)
    return grad_x
