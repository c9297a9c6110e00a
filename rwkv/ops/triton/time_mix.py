"""A time mixer over packed groups on a GPU: the sequence of kernels from a layer's input to its gated output.

The pairs of rows (shift.py) and the gated output are recomputed for the gradient; everything else is kept.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from rwkv.ops.dropout import NO_DROP, Drop
from rwkv.ops.triton.arguments import RowLayout, TimeWeights
from rwkv.ops.triton.dropout import hash_dropout
from rwkv.ops.triton.shift import shifted_pairs, shifted_pairs_backward
from rwkv.ops.triton.time_inputs import time_inputs_forward
from rwkv.ops.triton.time_inputs_backward import time_inputs_backward
from rwkv.ops.triton.wkv_backward import wkv_backward
from rwkv.ops.triton.wkv_forward import Gating, Kept, wkv_forward
from rwkv.ops.triton.wkv_output_backward import OutputInputs, wkv_output_backward


@dataclass(frozen=True)
class TimeKept:
    """The tensors for the backward pass: y [N, D], the arguments of the recurrence without r, and what WKV keeps."""

    y: Tensor
    arguments: tuple[Tensor, ...]
    wkv: Kept


class TimeResult(NamedTuple):
    """x + drop(TimeMixer(x)) [N, C], the stream's v0 [N, C], final states of the last groups, and the kept tensors."""

    x: Tensor
    v0: Tensor
    final_state: Tensor
    kept: TimeKept | None


def time_mix_forward(
    x: Tensor,
    v0: Tensor | None,
    weights: TimeWeights,
    rows: RowLayout,
    drop: Drop,
    initial_state: Tensor | None = None,
    final_groups: int = 0,
    keep: bool = False,
) -> TimeResult:
    """Run a time mixer with its residual and dropout.

    v0 is None in the stream's first layer; see `wkv_forward` for initial_state and final_groups. `keep` keeps tensors
    for a backward pass; without it and without dropout, x is overwritten by the result.
    """
    inputs = time_inputs_forward(x, v0, weights, rows, keep)
    heads = len(weights.output.bonus)
    *parts, gate = (part.view(len(x), heads, -1) for part in (inputs.r, *inputs.others))
    gating = Gating(gate, weights.output)
    gated, final_state, kept = wkv_forward(tuple(parts), rows.plan, initial_state, final_groups, keep, gating)
    gated = gated.view_as(x)
    if drop.seed is not None:
        result = hash_dropout(gated @ weights.W_o.T, drop, x)
    elif keep:
        result = torch.addmm(x, gated, weights.W_o.T)
    else:
        result = x.addmm_(gated, weights.W_o.T)
    keeps = None if inputs.y is None else TimeKept(inputs.y, inputs.others, kept)
    return TimeResult(result, inputs.v0, final_state, keeps)


def time_mix_backward(
    x: Tensor,
    v0: Tensor | None,
    weights: TimeWeights,
    rows: RowLayout,
    drop: Drop,
    kept: TimeKept,
    of_result: Tensor,
    of_v0: Tensor | None,
) -> tuple[Tensor, Tensor | None, TimeWeights]:
    """The gradients of x, v0 and the weights, from those of the result and, in the first layer, of its v as v0."""
    count, channels = x.shape
    y, up = kept.y, weights.up
    of_mixed = of_result if drop.seed is None else hash_dropout(of_result, drop, None)
    of_gated = of_mixed @ weights.W_o

    log_decay, k_hat, v, b, gate = kept.arguments
    r = y[:, :channels]
    of_y = torch.empty_like(y)
    of_up = y.new_empty(count, (3 if up.v_mix is None else 4) * channels)
    of_r, of_gate = of_y[:, :channels], of_up[:, 2 * channels : 3 * channels]
    inputs = OutputInputs(cast(Tensor, kept.wkv.out), r, v, b, gate)
    gated, of_inputs, of_output = wkv_output_backward(inputs, weights.output, of_gated, of_r, of_gate)
    of_W_o = of_mixed.T @ gated
    del gated, of_gated, of_mixed

    heads = len(weights.output.bonus)
    of_log_decay, of_k_hat = torch.empty_like(k_hat), torch.empty_like(k_hat)
    by_head = [part.view(count, heads, -1) for part in (r, log_decay, k_hat, v, b)]
    grads = [part.view(count, heads, -1) for part in (of_r, of_log_decay, of_k_hat, of_inputs.v, of_inputs.b)]
    of_out = of_inputs.out.view(count, heads, -1)
    wkv_backward(tuple(by_head), rows.plan, kept.wkv, of_out, None, tuple(grads), needs_initial=False)
    del of_out

    of_arguments = (of_log_decay, of_k_hat, of_inputs.v, of_inputs.b)
    grad_v0, of_maps = time_inputs_backward(y, v0, up, of_arguments, of_v0, of_y, of_up)
    del of_arguments, of_inputs, of_log_decay, of_k_hat, grads, of_up
    pairs = shifted_pairs(x, weights.norm_weight, weights.norm_bias, rows.source)
    of_projections = of_y.T @ pairs
    of_pairs = torch.mm(of_y, weights.projections, out=pairs)
    of_x, of_weight, of_bias = shifted_pairs_backward(x, weights.norm_weight, rows.source, of_pairs, of_result, NO_DROP)
    return of_x, grad_v0, TimeWeights(of_weight, of_bias, of_projections, of_maps, of_output, of_W_o)
