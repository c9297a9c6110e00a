"""One kernel on a GPU from a layer's input to the arguments of the WKV recurrence and the gate.

LayerNorm and token shift turn each row into a pair, see shift.py. The joined projections map it to y, whose columns are
[r | k | v | hidden]. `hidden` has the inner columns of the low-rank maps, [d | a | gate | v_mix], then k_scale and
v_scale, one column for each head. The definition is rwkv/ops/time_mix.py after the maps in rwkv/model/time_mixer.py.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any, NamedTuple, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.time_mix import NORM_CLAMP
from rwkv.ops.triton.arguments import RowLayout, TimeWeights
from rwkv.ops.triton.blocks import channel_sizes, dot, launch, load_channel_rows, sigmoid
from rwkv.ops.triton.shift import pair_of
from rwkv.ops.triton.tuning import LEAST_PRODUCT, product_sizes
from rwkv.ops.wkv import WkvInputs

# ln w = -e^(-0.5 - softplus(-d)) = -e^-0.5 sigmoid(d).
DECAY = tl.constexpr(0.6065306597126334)
LEAST_LENGTH = tl.constexpr(NORM_CLAMP)


@triton.jit
def _scaled_unit(x, scale, precision: tl.constexpr):
    """sigmoid(scale) x / |x| of rows x, whose length is clamped; scale is [ROWS]."""
    # The shares are divided, not the elements.
    share = sigmoid(scale, precision) / tl.maximum(tl.sqrt(tl.sum(x * x, 1)), LEAST_LENGTH)
    return share[:, None] * x


@triton.jit
def bias_of(bias, channel):
    """The given channels of a bias, float32 [1, K]."""
    return tl.load(bias + channel).to(tl.float32)[None, :]


@triton.jit
def _activated(
    hidden, column, D_RANK: tl.constexpr, GATE: tl.constexpr, GATE_END: tl.constexpr, precision: tl.constexpr
):
    """The activated hidden columns: tanh of d and sigmoid of the gate."""
    is_d, is_gate = column < D_RANK, (column >= GATE) & (column < GATE_END)
    share = sigmoid(tl.where(is_d, 2 * hidden, hidden), precision)
    return tl.where(is_d, 2 * share - 1, tl.where(is_gate, share, hidden))


@triton.jit
def _projected(own, difference, weight, row, C: tl.constexpr, C_WIDTH: tl.constexpr, precision: tl.constexpr):
    """Apply the given rows of the joined projections to pairs, float32 [ROWS, len(row)]."""
    at = weight + row[:, None] * 2 * C + tl.arange(0, C_WIDTH)[None, :]
    of_own, of_difference = load_channel_rows(at, C, C_WIDTH), load_channel_rows(at + C, C, C_WIDTH)
    return dot(own, tl.trans(of_own), precision) + dot(difference, tl.trans(of_difference), precision)


@triton.jit
def _up_map(whole, row, column, RANKS: tl.constexpr):
    """The given rows of the maps from hidden columns to channels, see UpWeights: [len(row), WIDTH]."""
    return tl.load(whole + row[:, None] * RANKS + column[None, :], mask=(column < RANKS)[None, :], other=0)


@triton.jit
def _place(head, row, inside, K: tl.constexpr, C: tl.constexpr):
    """A head's channels [K], their offsets in rows [ROWS, K], and the mask of those inside."""
    channel = head * K + tl.arange(0, K)
    return channel, row[:, None] * C + channel[None, :], inside[:, None] & (channel >= 0)[None, :]


@triton.jit
def _column(x, column, wanted):
    return tl.sum(tl.where(column[None, :] == wanted, x, 0.0), 1)


@triton.jit(do_not_specialize=["rows"])
def _inputs_kernel(
    x, norm_weight, norm_bias, source, before, projections, v0, bias_d, bias_a, bias_v, bias_k_scale, bias_v_scale,
    whole, r, y, log_decay, k_hat, scaled_v, b, gate, made_v, rows, r_stride, D,
    HEADS: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr,
    D_RANK: tl.constexpr,
    A_RANK: tl.constexpr, G_RANK: tl.constexpr, V_RANK: tl.constexpr, WIDTH: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Write the arguments of the recurrence. r is part of y if y is kept; made_v is written only in the first layer."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    inside = row < (rows - first).to(tl.int32)
    own, difference = pair_of(x, norm_weight, norm_bias, source, before, first, rows, ROWS, C, C_WIDTH)
    own, difference = own.to(projections.dtype.element_ty), difference.to(projections.dtype.element_ty)

    valid = column < D - 3 * C
    last = tl.minimum(3 * C + column, D - 1)  # results of columns beyond D are not used
    hidden = _projected(own, difference, projections, last, C, C_WIDTH, precision)
    GATE: tl.constexpr = D_RANK + A_RANK
    SCALES: tl.constexpr = GATE + G_RANK + V_RANK
    hidden = _activated(hidden, column[None, :], D_RANK, GATE, GATE + G_RANK, precision)
    active = hidden.to(projections.dtype.element_ty)
    if y is not None:
        y_first = y + first * D
        tl.store(y_first + row[:, None] * D + 3 * C + column[None, :], active, mask=inside[:, None] & valid[None, :])

    # v with v_mix and the gate, k with a, r with d, each in its own loop to save registers.
    for head in range(HEADS):
        channel, at, mask = _place(head, row, inside, K, C)
        # Loads come before the products, which wait for theirs.
        if v0 is not None:
            up = _up_map(whole, 3 * C + channel, column, SCALES)
            up_bias, earlier = bias_of(bias_v, channel), tl.load(v0 + first * C + at, mask=mask, other=0)
        up_gate = _up_map(whole, 2 * C + channel, column, SCALES)
        scale_bias = tl.load(bias_v_scale + head).to(tl.float32)
        values = _projected(own, difference, projections, 2 * C + channel, C, C_WIDTH, precision)
        if y is not None:
            tl.store(y_first + 2 * C + row[:, None] * D + channel[None, :], values, mask=mask)
        if v0 is None:
            tl.store(made_v + first * C + at, values, mask=mask)
        else:
            mix = sigmoid(dot(active, tl.trans(up), precision) + up_bias, precision)
            values += mix * (earlier.to(tl.float32) - values)
        tl.store(gate + first * C + at, dot(active, tl.trans(up_gate), precision), mask=mask)
        scale = _column(hidden, column, SCALES + HEADS + head) + scale_bias
        tl.store(scaled_v + first * C + at, _scaled_unit(values, scale, precision), mask=mask)
    for head in range(HEADS):
        channel, at, mask = _place(head, row, inside, K, C)
        up, up_bias = _up_map(whole, C + channel, column, SCALES), bias_of(bias_a, channel)
        scale_bias = tl.load(bias_k_scale + head).to(tl.float32)
        keys = _projected(own, difference, projections, C + channel, C, C_WIDTH, precision)
        raised = dot(active, tl.trans(up), precision)
        if y is not None:
            tl.store(y_first + C + row[:, None] * D + channel[None, :], keys, mask=mask)
        scale = _column(hidden, column, SCALES + head) + scale_bias
        unit = _scaled_unit(keys, scale, precision)
        tl.store(k_hat + first * C + at, unit, mask=mask)
        tl.store(b + first * C + at, sigmoid(raised + up_bias, precision) * unit, mask=mask)
    for head in range(HEADS):
        channel, at, mask = _place(head, row, inside, K, C)
        up, up_bias = _up_map(whole, channel, column, SCALES), bias_of(bias_d, channel)
        read = _projected(own, difference, projections, channel, C, C_WIDTH, precision)
        raised = dot(active, tl.trans(up), precision)
        tl.store(r + first * r_stride + row[:, None] * r_stride + channel[None, :], read, mask=mask)
        tl.store(log_decay + first * C + at, -DECAY * sigmoid(raised + up_bias, precision), mask=mask)


class TimeInputs(NamedTuple):
    """The arguments of the recurrence, and what belongs to them.

    Attributes:
        wkv: The arguments, [N, C] each; log_decay is float32, and the rows of r may be strided.
        gate: Gate of the output, [N, C].
        v0: v of the stream's first layer, [N, C].
        y: All projections, [N, D], if they are kept; the hidden columns after their activations.
    """

    wkv: WkvInputs
    gate: Tensor
    v0: Tensor
    y: Tensor | None


def time_inputs_forward(x: Tensor, v0: Tensor | None, weights: TimeWeights, rows: RowLayout, keep: bool) -> TimeInputs:
    """Compute the arguments of the recurrence.

    Args:
        x: Input of the layer, [N, C].
        v0: v of the stream's first layer, [N, C]; None in that layer.
        weights: Weights of the time mixer.
        rows: How the rows follow one another.
        keep: Whether to keep y for a backward pass.
    """
    count, channels = x.shape
    columns, heads = weights.projections.shape[0], weights.output.bonus.shape[0]
    y = x.new_empty(count, columns) if keep else None
    k_hat, v, b, gate = x.new_empty(4, count, channels).unbind()
    wkv = WkvInputs(
        r=torch.empty_like(x) if y is None else y[:, :channels],
        log_decay=torch.empty_like(x, dtype=torch.float32),
        k_hat=k_hat,
        v=v,
        b=b,
    )
    made_v = torch.empty_like(x) if v0 is None else None
    sizes, up = _sizes(x, weights), weights.up
    launch(
        _inputs_kernel,
        triton.cdiv(count, sizes["ROWS"]),
        x=x,
        norm_weight=weights.norm_weight,
        norm_bias=weights.norm_bias,
        source=rows.source,
        before=rows.before,
        projections=weights.projections,
        v0=v0,
        bias_d=up.d_bias,
        bias_a=up.a_bias,
        bias_v=up.v_mix_bias,
        bias_k_scale=up.k_scale_bias,
        bias_v_scale=up.v_scale_bias,
        whole=up.whole,
        y=y,
        **wkv.named("r", "log_decay", "k_hat", "b"),
        scaled_v=v,
        gate=gate,
        made_v=made_v,
        rows=count,
        r_stride=wkv.r.stride(0),
        D=columns,
        HEADS=heads,
        K=channels // heads,
        **sizes,
    )
    return TimeInputs(wkv, gate, cast(Tensor, made_v if v0 is None else v0), y)


def _sizes(x: Tensor, weights: TimeWeights) -> dict[str, Any]:
    ranks = dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), weights.up.ranks, strict=True))
    hidden = len(weights.projections) - 3 * x.shape[1]
    width = max(LEAST_PRODUCT, triton.next_power_of_2(hidden))
    sizes = channel_sizes(x.shape[1])
    return sizes | {"WIDTH": width, **ranks, **product_sizes("time_inputs", x.dtype, sizes["C_WIDTH"])}
