"""max(0, x)^2 on a GPU. See rwkv/ops/relu_square.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit(do_not_specialize=["entries"])
def _forward_kernel(x, y, entries, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    at = tl.arange(0, BLOCK)
    inside = at < entries - first
    values = tl.maximum(tl.load(x + first + at, mask=inside, other=0).to(tl.float32), 0.0)
    tl.store(y + first + at, values * values, mask=inside)


@triton.jit(do_not_specialize=["entries"])
def _backward_kernel(x, grad, grad_x, entries, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    at = tl.arange(0, BLOCK)
    inside = at < entries - first
    values = tl.maximum(tl.load(x + first + at, mask=inside, other=0).to(tl.float32), 0.0)
    tl.store(
        grad_x + first + at, 2 * values * tl.load(grad + first + at, mask=inside, other=0).to(tl.float32), mask=inside
    )


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
