"""The backward pass of GroupNorm, bonus and gate on a GPU; the recurrence's last kernel has their forward pass.

See rwkv/ops/time_mix.py for the definition.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.arguments import OutputWeights
from rwkv.ops.triton.blocks import launch, load_float
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.time_inputs import bias_of
from rwkv.ops.triton.tuning import other_sizes, persistent
from rwkv.ops.triton.wkv_chunk import standardised


class OutputInputs(NamedTuple):
    """The inputs of a time mixer's output: out, r, v, b and the gate, [N, C] each; rows of r may be strided."""

    out: Tensor
    r: Tensor
    v: Tensor
    b: Tensor
    gate: Tensor


@triton.jit(do_not_specialize=["rows"])
def _gate_backward_kernel(
    out, r, v, b, gate, bonus, weight, bias, grad, y, grad_out, grad_r, grad_v, grad_b, grad_gate, sums,
    rows, C, r_stride: tl.constexpr, grad_r_stride: tl.constexpr, grad_gate_stride: tl.constexpr, ROWS: tl.constexpr,
    K: tl.constexpr,
):  # fmt: skip
    """Compute the gradients; sums, float32 [programs, 3, C], gets those of bonus, weight and bias."""
    row = tl.arange(0, ROWS)
    channel = tl.program_id(0) * K + tl.arange(0, K)
    at = row[:, None] * C + channel[None, :]
    of_bonus, of_weight = bias_of(bonus, channel), bias_of(weight, channel)
    of_bias = bias_of(bias, channel)
    sum_bonus, sum_weight = tl.zeros((ROWS, K), tl.float32), tl.zeros((ROWS, K), tl.float32)
    sum_bias = tl.zeros((ROWS, K), tl.float32)
    for block in range(tl.program_id(1), tl.cdiv(rows, ROWS), tl.num_programs(1)):
        first = tl.cast(block, tl.int64) * ROWS
        mask = (row < (rows - first).to(tl.int32))[:, None] & (channel >= 0)[None, :]
        # All loads come before the first store, since the compiler moves no load across a store.
        of_out, g = load_float(out, first * C, at, mask), load_float(grad, first * C, at, mask)
        of_r = load_float(r, first * r_stride, row[:, None] * r_stride + channel[None, :], mask)
        of_b, of_v = load_float(b, first * C, at, mask), load_float(v, first * C, at, mask)
        of_gate = load_float(gate, first * C, at, mask)
        unit, rstd = standardised(of_out, K)
        both = of_r * of_b
        share = tl.sum(both * of_bonus, 1)[:, None]
        ungated = unit * of_weight + of_bias + share * of_v
        tl.store(y + first * C + at, of_gate * ungated, mask=mask)
        gate_at = row[:, None] * grad_gate_stride + channel[None, :]
        tl.store(grad_gate + first * grad_gate_stride + gate_at, g * ungated, mask=mask)
        g *= of_gate
        tl.store(grad_v + first * C + at, g * share, mask=mask)
        of_share = tl.sum(g * of_v, 1)[:, None]
        through = of_share * of_bonus
        r_at = row[:, None] * grad_r_stride + channel[None, :]
        tl.store(grad_r + first * grad_r_stride + r_at, through * of_b, mask=mask)
        tl.store(grad_b + first * C + at, through * of_r, mask=mask)
        scaled = g * of_weight
        level, along = tl.sum(scaled, 1)[:, None] / K, tl.sum(scaled * unit, 1)[:, None] / K
        tl.store(grad_out + first * C + at, rstd * (scaled - level - unit * along), mask=mask)
        sum_bonus += of_share * both
        sum_weight += g * unit
        sum_bias += g
    total = sums + tl.program_id(1).to(tl.int64) * 3 * C + channel
    tl.store(total, tl.sum(sum_bonus, 0))
    tl.store(total + C, tl.sum(sum_weight, 0))
    tl.store(total + 2 * C, tl.sum(sum_bias, 0))


def wkv_output_backward(
    inputs: OutputInputs, weights: OutputWeights, grad: Tensor, grad_r: Tensor, grad_gate: Tensor
) -> tuple[Tensor, OutputInputs, OutputWeights]:
    """Recompute the output, and all gradients from its own; those of r and gate are written to given tensors [N, C]."""
    rows, channels = grad.shape
    heads, width = weights.bonus.shape
    programs, sizes = persistent(other_sizes("wkv_output_backward"), rows, heads)
    y = torch.empty_like(grad)
    of_out, of_v, of_b = (torch.empty_like(grad) for _ in range(3))
    grads = OutputInputs(of_out, grad_r, of_v, of_b, grad_gate)
    sums = grad.new_empty(programs, 3, channels, dtype=torch.float32)
    launch(
        _gate_backward_kernel,
        heads,
        programs,
        **inputs._asdict(),
        **weights._asdict(),
        grad=grad,
        y=y,
        **{f"grad_{name}": x for name, x in grads._asdict().items()},
        sums=sums,
        rows=rows,
        C=channels,
        r_stride=inputs.r.stride(0),
        grad_r_stride=grad_r.stride(0),
        grad_gate_stride=grad_gate.stride(0),
        K=width,
        **sizes,
    )
    of_bonus, of_weight, of_bias = sum_blocks(sums, grad.dtype)
    return y, grads, OutputWeights(of_bonus.view(heads, width), of_weight, of_bias)
