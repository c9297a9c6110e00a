"""A time mixer over packed groups on a GPU: the sequence of kernels from a layer's input to its gated output.

The pairs of rows (shift.py) and the gated output are recomputed for the gradient; everything else is kept.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from rwkv.ops.dropout import NO_DROP, Drop
from rwkv.ops.triton.arguments import RowLayout, TimeWeights
from rwkv.ops.triton.output_map import output_map, output_map_backward
from rwkv.ops.triton.shift import shifted_pairs, shifted_pairs_backward
from rwkv.ops.triton.time_inputs import time_inputs_forward
from rwkv.ops.triton.time_inputs_backward import time_inputs_backward
from rwkv.ops.triton.wkv_backward import wkv_backward
from rwkv.ops.triton.wkv_forward import Gating, Kept, wkv_forward
from rwkv.ops.triton.wkv_output_backward import OutputInputs, wkv_output_backward
from rwkv.ops.wkv import WkvInputs
from rwkv.pytree import map_tensors


class TimeKept(NamedTuple):
    """What the forward pass keeps for the backward pass.

    Attributes:
        y: All projections, [N, D], see time_inputs.py.
        inputs: The arguments of the recurrence, [N, C] each; r is part of y, and log_decay is log2 of the decay.
        gate: Gate of the output, [N, C].
        wkv: What the recurrence keeps.
    """

    y: Tensor
    inputs: WkvInputs
    gate: Tensor
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
    inputs, gate, v0, y = time_inputs_forward(x, v0, weights, rows, keep)
    by_head = len(x), len(weights.output.bonus), -1
    gated, final_state, kept = wkv_forward(
        map_tensors(lambda part: part.view(by_head), inputs),
        rows.groups,
        initial_state,
        final_groups,
        keep,
        Gating(gate.view(by_head), weights.output),
    )
    gated = gated.view_as(x)
    if drop.seed is not None:
        result = output_map(gated, weights.W_o, drop, x)
    elif keep:
        result = torch.addmm(x, gated, weights.W_o.T)
    else:
        result = x.addmm_(gated, weights.W_o.T)
    if y is None:
        return TimeResult(result, v0, final_state, None)
    inputs = inputs._replace(log_decay=cast(Tensor, kept.log_w).view_as(inputs.k_hat))
    return TimeResult(result, v0, final_state, TimeKept(y, inputs, gate, kept))


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
    y = kept.y
    if drop.seed is None:
        of_mixed, of_gated = of_result, of_result @ weights.W_o
    else:
        of_mixed, of_gated = output_map_backward(weights.W_o, drop, of_result)

    of_y = torch.empty_like(y)
    of_raised = y.new_empty(count, (3 if v0 is None else 4) * channels)
    of_r, of_gate = of_y[:, :channels], of_raised[:, 2 * channels : 3 * channels]
    inputs = kept.inputs
    output_inputs = OutputInputs(cast(Tensor, kept.wkv.out), inputs.r, inputs.v, inputs.b, kept.gate)
    gated, of_output_inputs, of_output = wkv_output_backward(output_inputs, weights.output, of_gated, of_r, of_gate)
    of_W_o = of_mixed.T @ gated
    del gated, of_gated, of_mixed

    of_inputs = WkvInputs(
        r=of_r,
        log_decay=torch.empty_like(inputs.k_hat),
        k_hat=torch.empty_like(inputs.k_hat),
        v=of_output_inputs.v,
        b=of_output_inputs.b,
    )
    of_out = of_output_inputs.out
    del of_output_inputs
    by_head = count, len(weights.output.bonus), -1
    wkv_backward(
        map_tensors(lambda part: part.view(by_head), inputs),
        rows.groups,
        kept.wkv,
        of_out.view(by_head),
        None,
        map_tensors(lambda part: part.view(by_head), of_inputs),
        needs_initial=False,
    )
    del of_out

    grad_v0, of_maps = time_inputs_backward(y, v0, inputs.log_decay, weights.up, of_inputs, of_v0, of_y, of_raised)
    del of_inputs, of_raised
    pairs = shifted_pairs(x, weights.norm_weight, weights.norm_bias, rows.source)
    of_projections = of_y.T @ pairs
    of_pairs = torch.mm(of_y, weights.projections, out=pairs)
    of_x, of_weight, of_bias = shifted_pairs_backward(x, weights.norm_weight, rows.source, of_pairs, of_result, NO_DROP)
    of_weights = TimeWeights(
        norm_weight=of_weight,
        norm_bias=of_bias,
        projections=of_projections,
        up=of_maps,
        output=of_output,
        W_o=of_W_o,
    )
    return of_x, grad_v0, of_weights
