"""GroupNorm, bonus and gate after the recurrence on a GPU. See rwkv/ops/wkv_output.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows a program, of one head.
_ROWS = 64


@triton.jit
def _load(x, at, mask):
    return tl.load(x + at, mask=mask, other=0).to(tl.float32)


@triton.jit(do_not_specialize=["rows"])
def _forward_kernel(out, r, v, b, gate, bonus, weight, bias, y, rows, heads, eps, ROWS: tl.constexpr, K: tl.constexpr):
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = head * K + tl.arange(0, K)
    mask = (row < rows)[:, None] & (channel >= 0)[None, :]
    at = row[:, None] * heads * K + channel[None, :]
    x = _load(out, at, mask)
    centred = x - tl.sum(x, 1)[:, None] / K
    unit = centred / tl.sqrt(tl.sum(centred * centred, 1)[:, None] / K + eps)
    of_bonus = tl.load(bonus + channel).to(tl.float32)
    share = tl.sum(_load(r, at, mask) * of_bonus[None, :] * _load(b, at, mask), 1)
    scaled = unit * tl.load(weight + channel).to(tl.float32)[None, :] + tl.load(bias + channel).to(tl.float32)[None, :]
    tl.store(y + at, _load(gate, at, mask) * (scaled + share[:, None] * _load(v, at, mask)), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _backward_kernel(
    out, r, v, b, gate, bonus, weight, bias, grad, grad_out, grad_r, grad_v, grad_b, grad_gate, sums,
    rows, heads, eps, ROWS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """sums float32 [blocks, 3, C]: of each block of rows, the gradients of bonus, weight and bias."""
    block, head = tl.program_id(0), tl.program_id(1)
    row = block.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = head * K + tl.arange(0, K)
    mask = (row < rows)[:, None] & (channel >= 0)[None, :]
    at = row[:, None] * heads * K + channel[None, :]
    x = _load(out, at, mask)
    centred = x - tl.sum(x, 1)[:, None] / K
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, 1) / K + eps)
    unit = centred * rstd[:, None]
    of_r, of_b, of_v = _load(r, at, mask), _load(b, at, mask), _load(v, at, mask)
    of_bonus = tl.load(bonus + channel).to(tl.float32)[None, :]
    of_weight = tl.load(weight + channel).to(tl.float32)[None, :]
    share = tl.sum(of_r * of_bonus * of_b, 1)[:, None]
    g = _load(grad, at, mask)
    ungated = g * _load(gate, at, mask)
    of_bias = tl.load(bias + channel).to(tl.float32)[None, :]
    tl.store(grad_gate + at, g * (unit * of_weight + of_bias + share * of_v), mask=mask)
    tl.store(grad_v + at, ungated * share, mask=mask)
    grad_share = tl.sum(ungated * of_v, 1)[:, None]
    tl.store(grad_r + at, grad_share * of_bonus * of_b, mask=mask)
    tl.store(grad_b + at, grad_share * of_bonus * of_r, mask=mask)
    scaled = ungated * of_weight
    level, along = tl.sum(scaled, 1)[:, None] / K, tl.sum(scaled * unit, 1)[:, None] / K
    tl.store(grad_out + at, rstd[:, None] * (scaled - level - unit * along), mask=mask)
    total = sums + block.to(tl.int64) * 3 * heads * K + channel
    tl.store(total, tl.sum(grad_share * of_r * of_b, 0))
    tl.store(total + heads * K, tl.sum(ungated * unit, 0))
    tl.store(total + 2 * heads * K, tl.sum(ungated, 0))


def wkv_output_forward(
    out: Tensor, r: Tensor, v: Tensor, b: Tensor, gate: Tensor, bonus: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """The gated output [N, C]."""
    rows, (heads, width) = len(out), bonus.shape
    y = torch.empty_like(gate)
    if rows:
        grid = (triton.cdiv(rows, _ROWS), heads)
        _forward_kernel[grid](out, r, v, b, gate, bonus, weight, bias, y, rows, heads, eps, ROWS=_ROWS, K=width)
    return y


def wkv_output_backward(
    out: Tensor,
    r: Tensor,
    v: Tensor,
    b: Tensor,
    gate: Tensor,
    bonus: Tensor,
    weight: Tensor,
    bias: Tensor,
    grad: Tensor,
    eps: float,
) -> tuple[Tensor, ...]:
    """The gradients of out, r, v, b, gate, bonus, weight, bias."""
    rows, (heads, width) = len(out), bonus.shape
    grads = [torch.empty_like(x) for x in (out, r, v, b, gate)]
    blocks = triton.cdiv(rows, _ROWS)
    sums = out.new_empty(blocks, 3, heads * width, dtype=torch.float32)
    if rows:
        _backward_kernel[(blocks, heads)](
            out, r, v, b, gate, bonus, weight, bias, grad, *grads, sums, rows, heads, eps, ROWS=_ROWS, K=width
        )
    of_bonus, of_weight, of_bias = sums.sum(0)
    return *grads, of_bonus.view_as(bonus).to(bonus.dtype), of_weight.to(weight.dtype), of_bias.to(bias.dtype)
