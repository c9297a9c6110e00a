"""From a layer's input to the arguments of the WKV recurrence and the gate, on a GPU, in one kernel.

LayerNorm and token shift make a pair of each row, see shift_triton.py; the stacked projections make y of it, whose
columns are [r | k | v | hidden]; hidden is what the low-rank maps have inside, [d | a | gate | v_mix], then k_scale and
v_scale, one a head. The definition: rwkv/ops/wkv_inputs.py, after the maps in rwkv/model/time_mixer.py.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any, NamedTuple, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.layer_weights import Rows, TimeWeights
from rwkv.ops.shift_triton import pair_of
from rwkv.ops.wkv_inputs import NORM_CLAMP
from rwkv.ops.wkv_triton_chunk import dot

# Rows a program and how it is compiled, by measurement on an H100.
_SETTINGS = {"ROWS": 128, "num_warps": 8, "num_stages": 1, "maxnreg": 128}
_PRECISE = {"ROWS": 16, "num_warps": 4, "num_stages": 1}

# What products of matrices sum over at least.
_LEAST_PRODUCT = 16

# ln w = -e^(-0.5 - softplus(-d)) = -e^-0.5 sigmoid(d).
DECAY = tl.constexpr(0.6065306597126334)
LEAST_LENGTH = tl.constexpr(NORM_CLAMP)


@triton.jit
def length(x):
    """Of rows, as the division of a unit vector takes it, [ROWS, 1]."""
    return tl.maximum(tl.sqrt(tl.sum(x * x, 1)), LEAST_LENGTH)[:, None]


@triton.jit
def bias_of(bias, channel):
    """Some channels of a bias, float32 [1, K]."""
    return tl.load(bias + channel).to(tl.float32)[None, :]


@triton.jit
def _projected(own, difference, weight, row, there, C: tl.constexpr, precision: tl.constexpr):
    """Those rows of the stacked projections applied to pairs, float32 [ROWS, len(row)]."""
    at = row[:, None] * 2 * C + tl.arange(0, C)[None, :]
    direct = tl.load(weight + at, mask=there[:, None], other=0)
    shifted = tl.load(weight + at + C, mask=there[:, None], other=0)
    return dot(own, tl.trans(direct), precision) + dot(difference, tl.trans(shifted), precision)


@triton.jit
def _raised(active, weight, channel, column, FIRST: tl.constexpr, RANK: tl.constexpr, precision: tl.constexpr):
    """The map from RANK hidden columns, from FIRST on, to some channels: float32 [ROWS, K]."""
    own = (column >= FIRST) & (column < FIRST + RANK)
    at = channel[:, None] * RANK + column[None, :] - FIRST
    return dot(active, tl.trans(tl.load(weight + at, mask=own[None, :], other=0)), precision)


@triton.jit
def _column(x, column, wanted):
    return tl.sum(tl.where(column[None, :] == wanted, x, 0.0), 1)


@triton.jit(do_not_specialize=["rows"])
def _inputs_kernel(
    x, norm_weight, norm_bias, source, before, projections, v0, up_d, bias_d, up_a, bias_a, up_g, up_v, bias_v,
    bias_k_scale, bias_v_scale, r, y, log_decay, k_hat, scaled_v, b, gate, first_v, rows, r_stride, D,
    HEADS: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr, D_RANK: tl.constexpr,
    A_RANK: tl.constexpr, G_RANK: tl.constexpr, V_RANK: tl.constexpr, WIDTH: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """r: its columns of y. y, first_v: None where they are not asked for."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    inside = row < (rows - first).to(tl.int32)
    own, difference = pair_of(x, norm_weight, norm_bias, source, before, first, rows, ROWS, C)
    own, difference = own.to(projections.dtype.element_ty), difference.to(projections.dtype.element_ty)

    there = column < D - 3 * C
    hidden = _projected(own, difference, projections + 6 * C * C, column, there, C, precision)
    GATE: tl.constexpr = D_RANK + A_RANK
    SCALES: tl.constexpr = GATE + G_RANK + V_RANK
    is_d, is_gate = (column < D_RANK)[None, :], ((column >= GATE) & (column < GATE + G_RANK))[None, :]
    share = tl.sigmoid(tl.where(is_d, 2 * hidden, hidden))
    active = tl.where(is_d, 2 * share - 1, tl.where(is_gate, share, hidden)).to(projections.dtype.element_ty)
    y_first = first * D + row[:, None] * D
    if y is not None:
        tl.store(y + y_first + 3 * C + column[None, :], hidden, mask=inside[:, None] & there[None, :])

    for head in range(HEADS):
        channel = head * K + tl.arange(0, K)
        every = channel >= 0
        mask = inside[:, None] & every[None, :]
        at = first * C + (row[:, None] * C + channel[None, :])
        values = _projected(own, difference, projections + 4 * C * C, channel, every, C, precision)
        if y is not None:
            tl.store(y + y_first + 2 * C + channel[None, :], values, mask=mask)
        if first_v is not None:
            tl.store(first_v + at, values, mask=mask)
        if up_v is not None:
            mix = _raised(active, up_v, channel, column, GATE + G_RANK, V_RANK, precision) + bias_of(bias_v, channel)
            values += tl.sigmoid(mix) * (tl.load(v0 + at, mask=mask, other=0).to(tl.float32) - values)
        of_value = _column(hidden, column, SCALES + HEADS + head) + tl.load(bias_v_scale + head).to(tl.float32)
        tl.store(scaled_v + at, tl.sigmoid(of_value)[:, None] * values / length(values), mask=mask)

        keys = _projected(own, difference, projections + 2 * C * C, channel, every, C, precision)
        if y is not None:
            tl.store(y + y_first + C + channel[None, :], keys, mask=mask)
        of_key = _column(hidden, column, SCALES + head) + tl.load(bias_k_scale + head).to(tl.float32)
        unit = tl.sigmoid(of_key)[:, None] * keys / length(keys)
        tl.store(k_hat + at, unit, mask=mask)
        a = _raised(active, up_a, channel, column, D_RANK, A_RANK, precision) + bias_of(bias_a, channel)
        tl.store(b + at, tl.sigmoid(a) * unit, mask=mask)

        d = _raised(active, up_d, channel, column, 0, D_RANK, precision) + bias_of(bias_d, channel)
        tl.store(log_decay + at, -DECAY * tl.sigmoid(d), mask=mask)
        tl.store(gate + at, _raised(active, up_g, channel, column, GATE, G_RANK, precision), mask=mask)
        r_at = first * r_stride + (row[:, None] * r_stride + channel[None, :])
        tl.store(r + r_at, _projected(own, difference, projections, channel, every, C, precision), mask=mask)


class TimeInputs(NamedTuple):
    """r [N, C], whose rows may lie apart. others: log_decay (float32), k_hat, v, b and the gate, [N, C] each.

    v0: the stream's first layer's v. y: all projections [N, D], if they are kept.
    """

    r: Tensor
    others: tuple[Tensor, ...]
    v0: Tensor
    y: Tensor | None


def time_inputs_forward(x: Tensor, v0: Tensor | None, weights: TimeWeights, rows: Rows, keep: bool) -> TimeInputs:
    """x: [N, C], a layer's input. v0: [N, C], None in the first layer. keep: y for a backward pass."""
    count, channels = x.shape
    columns, heads = len(weights.projections), len(weights.output.bonus)
    y = x.new_empty(count, columns) if keep else None
    r = torch.empty_like(x) if y is None else y[:, :channels]
    others = (torch.empty_like(x, dtype=torch.float32), *(torch.empty_like(x) for _ in range(4)))
    made_v = torch.empty_like(x) if v0 is None else None
    sizes = _sizes(x, weights)
    if count:
        _inputs_kernel[(triton.cdiv(count, sizes["ROWS"]),)](
            x, weights.norm_weight, weights.norm_bias, rows.source, rows.before, weights.projections, v0, *weights.up,
            r, y, *others, made_v, count, r.stride(0), columns, HEADS=heads, K=channels // heads, **sizes,
        )  # fmt: skip
    return TimeInputs(r, others, cast(Tensor, made_v if v0 is None else v0), y)


def _sizes(x: Tensor, weights: TimeWeights) -> dict[str, Any]:
    ranks = dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), weights.up.ranks, strict=True))
    hidden = len(weights.projections) - 3 * x.shape[1]
    width = max(_LEAST_PRODUCT, triton.next_power_of_2(hidden))
    if x.dtype == torch.bfloat16:
        return {"C": x.shape[1], "WIDTH": width, "precision": "bf16", **ranks, **_SETTINGS}
    return {"C": x.shape[1], "WIDTH": width, "precision": "tf32x3", **ranks, **_PRECISE}
