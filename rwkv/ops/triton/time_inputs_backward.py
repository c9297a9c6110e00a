"""The backward pass of time_inputs.py on a GPU: from the arguments of the recurrence and the gate to the projections y.

See time_inputs.py for the columns of y. One kernel goes back to k, v, the scales and the raised columns, which the maps
give from the hidden columns, and another one from these to the hidden columns and maps.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.arguments import UpWeights
from rwkv.ops.triton.blocks import channel_sizes, dot, launch, load_float, sigmoid
from rwkv.ops.triton.interpolated_maps import maps_and_biases
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.time_inputs import DECAY, LEAST_LENGTH, bias_of
from rwkv.ops.triton.tuning import LEAST_PRODUCT, persistent, product_sizes
from rwkv.ops.triton.wkv_chunk import LOG2_E
from rwkv.ops.wkv import WkvInputs


@triton.jit
def _backward_unit(x, scale, grad, precision: tl.constexpr):
    """y = sigmoid(scale) x / |x|: from the gradient of y to those of x and of scale, and the factor of x in y."""
    size = tl.sqrt(tl.sum(x * x, 1))
    clamped = tl.maximum(size, LEAST_LENGTH)
    share = sigmoid(scale, precision)
    factor = share / clamped
    along = tl.sum(grad * x, 1) / clamped
    # A clamped length is constant.
    radial = tl.where(size > LEAST_LENGTH, along / clamped * factor, 0.0)
    return grad * factor[:, None] - x * radial[:, None], along * share * (1 - share), factor[:, None]


@triton.jit(do_not_specialize=["rows"])
def _inputs_backward_kernel(
    y, v0, log_w, bias_a, bias_v, bias_k_scale, bias_v_scale,
    of_log_decay, of_k_hat, of_v, of_b, of_v0, grad_y, of_raised, grad_v0, rows, D, U, heads,
    RANKS: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of k, v, the scales and v0, and of the raised columns except those of the gate.

    Before, the columns of `a` and v_mix in of_raised have the raised columns without bias. What is written in their
    place depends on them, so no thread writes a place that another one has yet to read.
    """
    head = tl.program_id(0)
    row = tl.arange(0, ROWS)
    channel = head * K + tl.arange(0, K)
    at, y_at = row[:, None] * C + channel[None, :], row[:, None] * D + channel[None, :]
    raised_at = row[:, None] * U + channel[None, :]
    scales = row * D + 3 * C + RANKS + head
    k_bias = tl.load(bias_k_scale + head).to(tl.float32)
    v_bias = tl.load(bias_v_scale + head).to(tl.float32)
    first = tl.program_id(1).to(tl.int64) * ROWS
    inside = row < (rows - first).to(tl.int32)
    mask = inside[:, None] & (channel >= 0)[None, :]
    # All loads come before the first store, since the compiler moves no load across a store.
    raised = of_raised + first * U + raised_at
    share = sigmoid(tl.load(raised + C, mask=mask, other=0).to(tl.float32) + bias_of(bias_a, channel), precision)
    keys, own = load_float(y, first * D, y_at + C, mask), load_float(y, first * D, y_at + 2 * C, mask)
    key_scale = load_float(y, first * D, scales, inside) + k_bias
    value_scale = load_float(y, first * D, scales + heads, inside) + v_bias
    log_2, decay_grad = load_float(log_w, first * C, at, mask), load_float(of_log_decay, first * C, at, mask)
    k_grad = load_float(of_k_hat, first * C, at, mask)
    v_grad, b_grad = load_float(of_v, first * C, at, mask), load_float(of_b, first * C, at, mask)
    values, from_later = own, tl.zeros_like(own)
    if v0 is not None:
        mixed = sigmoid(
            tl.load(raised + 3 * C, mask=mask, other=0).to(tl.float32) + bias_of(bias_v, channel), precision
        )
        difference = load_float(v0, first * C, at, mask) - own
        values = own + mixed * difference
    if of_v0 is not None:
        from_later = load_float(of_v0, first * C, at, mask)
    y_first = grad_y + first * D

    # ln w = -DECAY sigmoid(d).
    decay = log_2 / (-DECAY * LOG2_E)
    tl.store(raised, -DECAY * decay_grad * decay * (1 - decay), mask=mask)

    of_keys, of_scale, factor = _backward_unit(keys, key_scale, k_grad + b_grad * share, precision)
    tl.store(y_first + y_at + C, of_keys, mask=mask)
    tl.store(y_first + scales, of_scale, mask=inside)
    tl.store(raised + C, b_grad * keys * factor * share * (1 - share), mask=mask)

    of_values, of_scale, _ = _backward_unit(values, value_scale, v_grad, precision)
    tl.store(y_first + scales + heads, of_scale, mask=inside)
    if v0 is not None:
        tl.store(grad_v0 + first * C + at, of_values * mixed, mask=mask)
        tl.store(raised + 3 * C, of_values * difference * mixed * (1 - mixed), mask=mask)
        of_values *= 1 - mixed
    tl.store(y_first + y_at + 2 * C, of_values + from_later, mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _maps_backward_kernel(
    y, whole, of_raised, grad_y, sums, rows, D, U,
    C: tl.constexpr, C_WIDTH: tl.constexpr, D_RANK: tl.constexpr, A_RANK: tl.constexpr, G_RANK: tl.constexpr,
    V_RANK: tl.constexpr, R: tl.constexpr, SCALES: tl.constexpr, SCALES_WIDTH: tl.constexpr, ROWS: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    """Go from the gradients of one map's raised columns, [N, C], to those of its hidden columns and of the map.

    The hidden columns are followed by ones, as a bias has them. The first map's programs also add up the gradients of
    the scales. sums, float32 [programs, maps C R + 2 H], gets the results.
    """
    of_map = tl.program_id(0)
    GATE: tl.constexpr = D_RANK + A_RANK
    MIX: tl.constexpr = GATE + G_RANK
    RANKS: tl.constexpr = MIX + V_RANK
    begin = tl.where(of_map == 0, 0, tl.where(of_map == 1, D_RANK, tl.where(of_map == 2, GATE, MIX)))
    end = tl.where(of_map == 0, D_RANK, tl.where(of_map == 1, GATE, tl.where(of_map == 2, MIX, RANKS)))
    # The slope by the value of the activation: 1 - x^2 of tanh, x - x^2 of the sigmoid, and else 1.
    constant = tl.where(of_map == 2, 0.0, 1.0)
    linear = 1 - constant
    square = tl.where((of_map == 0) | (of_map == 2), 1.0, 0.0)
    row, channel, rank = tl.arange(0, ROWS), tl.arange(0, C_WIDTH), tl.arange(0, R)
    is_channel, column = channel < C, begin + rank
    is_rank = column < end
    weight_at = whole + (of_map * C + channel)[:, None] * RANKS + column[None, :]
    weight = tl.load(weight_at, mask=is_channel[:, None] & is_rank[None, :], other=0)
    at = row[:, None] * U + of_map * C + channel[None, :]
    y_at = row[:, None] * D + 3 * C + column[None, :]
    scale = tl.arange(0, SCALES_WIDTH)
    is_scale = (scale < SCALES) & (of_map == 0)
    scale_at = row[:, None] * D + 3 * C + RANKS + scale[None, :]
    total, of_scales = tl.zeros((C_WIDTH, R), tl.float32), tl.zeros((ROWS, SCALES_WIDTH), tl.float32)
    for block in range(tl.program_id(1), tl.cdiv(rows, ROWS), tl.num_programs(1)):
        first = tl.cast(block, tl.int64) * ROWS
        inside = row < (rows - first).to(tl.int32)
        grad = tl.load(of_raised + first * U + at, mask=inside[:, None] & is_channel[None, :], other=0)
        mask = inside[:, None] & is_rank[None, :]
        hidden = load_float(y, first * D, y_at, mask)
        of_scales += load_float(grad_y, first * D, scale_at, inside[:, None] & is_scale[None, :])
        total += dot(tl.trans(grad), tl.where((column == end)[None, :], 1.0, hidden).to(grad.dtype), precision)
        slope = constant + hidden * (linear - square * hidden)
        tl.store(grad_y + first * D + y_at, dot(grad, weight, precision) * slope, mask=mask)
    sums += tl.program_id(1).to(tl.int64) * (tl.num_programs(0) * C * R + SCALES)
    at = (of_map * C + channel)[:, None] * R + rank[None, :]
    tl.store(sums + at, total, mask=is_channel[:, None] & (rank >= 0)[None, :])
    tl.store(sums + tl.num_programs(0) * C * R + scale, tl.sum(of_scales, 0), mask=is_scale)


def time_inputs_backward(
    y: Tensor,
    v0: Tensor | None,
    log_w: Tensor,
    up: UpWeights,
    grads: WkvInputs,
    of_v0: Tensor | None,
    grad_y: Tensor,
    of_raised: Tensor,
) -> tuple[Tensor | None, UpWeights]:
    """Write the gradients of k, v and hidden into grad_y [N, D]; return those of v0 and of the maps.

    log_w is log2 of the decay w, [N, C]. `grads` has the gradients of the arguments, [N, C] each, and `of_v0` that of
    the first layer's v as v0, or None. Columns 2 C to 3 C of of_raised, [N, 3 C] or with v_mix [N, 4 C], hold the
    gradient of the gate; the others are written.
    """
    rows, channels = len(y), len(up.d)
    heads, ranks = len(up.k_scale_bias), sum(up.ranks)
    sizes = product_sizes("time_inputs_backward", y.dtype)
    blocks = triton.cdiv(rows, sizes["ROWS"])
    grad_v0 = None if v0 is None else torch.empty_like(v0)
    _, a, _, v_mix = y[:, 3 * channels : 3 * channels + ranks].split(up.ranks, 1)
    torch.mm(a, up.a.T, out=of_raised[:, channels : 2 * channels])
    if up.v_mix is not None:
        torch.mm(v_mix, up.v_mix.T, out=of_raised[:, 3 * channels :])
    launch(
        _inputs_backward_kernel,
        heads,
        blocks,
        y=y,
        v0=v0,
        log_w=log_w,
        bias_a=up.a_bias,
        bias_v=up.v_mix_bias,
        bias_k_scale=up.k_scale_bias,
        bias_v_scale=up.v_scale_bias,
        **{f"of_{name}": x for name, x in grads.named("log_decay", "k_hat", "v", "b").items()},
        of_v0=of_v0,
        grad_y=grad_y,
        of_raised=of_raised,
        grad_v0=grad_v0,
        rows=rows,
        D=y.shape[1],
        U=of_raised.shape[1],
        heads=heads,
        RANKS=ranks,
        C=channels,
        K=channels // heads,
        **sizes,
    )
    return grad_v0, _maps_backward(y, of_raised, grad_y, up)


def _maps_backward(y: Tensor, of_raised: Tensor, grad_y: Tensor, up: UpWeights) -> UpWeights:
    """Write the gradient of hidden without the scales into grad_y; return those of the maps and their biases."""
    rows, channels = len(y), len(up.d)
    maps, width, scales = of_raised.shape[1] // channels, _padded(max(up.ranks) + 1), 2 * len(up.k_scale_bias)
    blocks = channel_sizes(channels)
    programs, sizes = persistent(product_sizes("maps_backward", y.dtype, blocks["C_WIDTH"]), rows, maps)
    sums = y.new_empty(programs, maps * channels * width + scales, dtype=torch.float32)
    launch(
        _maps_backward_kernel,
        maps,
        programs,
        y=y,
        whole=up.whole,
        of_raised=of_raised,
        grad_y=grad_y,
        sums=sums,
        rows=rows,
        D=y.shape[1],
        U=of_raised.shape[1],
        R=width,
        SCALES=scales,
        SCALES_WIDTH=_padded(scales),
        **blocks,
        **_ranks(up),
        **sizes,
    )
    of_maps, of_scales = sum_blocks(sums, y.dtype).split([maps * channels * width, scales])
    return _sorted(of_maps.view(maps, channels, width), of_scales, up)


def _sorted(of_maps: Tensor, of_scales: Tensor, up: UpWeights) -> UpWeights:
    """The gradients by name, from those of the maps with their biases, [maps, C, R], and of the scales, [2 H]."""
    d, a, gate, *v_mix = maps_and_biases(of_maps, up.ranks)
    k_scale_bias, v_scale_bias = of_scales.chunk(2)
    return UpWeights(
        d=d[0],
        d_bias=d[1],
        a=a[0],
        a_bias=a[1],
        gate=gate[0],
        v_mix=v_mix[0][0] if v_mix else None,
        v_mix_bias=v_mix[0][1] if v_mix else None,
        k_scale_bias=k_scale_bias,
        v_scale_bias=v_scale_bias,
        whole=None,
    )


def _ranks(up: UpWeights) -> dict[str, int]:
    return dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), up.ranks, strict=True))


def _padded(columns: int) -> int:
    return max(LEAST_PRODUCT, cast(int, triton.next_power_of_2(columns)))
