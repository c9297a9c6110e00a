"""The backward pass of time_inputs.py on a GPU: from the arguments of the recurrence and the gate to the projections y.

See time_inputs.py for the columns of y.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.arguments import UpWeights
from rwkv.ops.triton.blocks import dot, launch, load_float
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.time_inputs import DECAY, LEAST_LENGTH, activated, bias_of, length
from rwkv.ops.triton.tuning import LEAST_PRODUCT, other_sizes, product_sizes
from rwkv.ops.wkv import WkvInputs


@triton.jit
def _rank_columns(RANK: tl.constexpr, R: tl.constexpr):
    """The columns 0 .. R - 1, and the mask of those below the rank."""
    column = tl.arange(0, R)
    return column, column < RANK


@triton.jit
def _hidden(y, first, row, inside, D, FIRST: tl.constexpr, RANK: tl.constexpr, R: tl.constexpr):
    """RANK columns of y from FIRST on, padded with zeros to [ROWS, R]."""
    column, is_rank = _rank_columns(RANK, R)
    return load_float(y, first * D, row[:, None] * D + FIRST + column[None, :], inside[:, None] & is_rank[None, :])


@triton.jit
def _up_map(weight, channel, RANK: tl.constexpr, R: tl.constexpr):
    """The map from hidden columns to channels, [R, K]."""
    column, is_rank = _rank_columns(RANK, R)
    return tl.trans(
        load_float(weight, 0, channel[:, None] * RANK + column[None, :], (channel >= 0)[:, None] & is_rank[None, :])
    )


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _backward_unit(x, scale, grad):
    """y = sigmoid(scale) x / |x|: from the gradient of y to those of x and of scale."""
    size, factor = length(x), tl.sigmoid(scale)
    along = tl.sum(grad * x, 1)[:, None] / size
    # A clamped length is constant.
    radial = tl.where(size > LEAST_LENGTH, along / size, 0.0)
    return factor[:, None] * (grad - x * radial) / size, tl.sum(along, 1) * factor * (1 - factor)


@triton.jit(do_not_specialize=["rows"])
def _inputs_backward_kernel(
    y, v0, up_d, bias_d, up_a, bias_a, up_v, bias_v, bias_k_scale, bias_v_scale,
    of_log_decay, of_k_hat, of_v, of_b, of_v0, grad_y, grad_up, grad_v0, sums, rows, D, U, heads,
    K: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr, D_RANK: tl.constexpr, A_RANK: tl.constexpr,
    G_RANK: tl.constexpr, V_RANK: tl.constexpr, R: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Compute the gradients; sums, float32 [blocks, 3 C + 2 H], gets those of the biases."""
    head = tl.program_id(1)
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    channel = head * K + tl.arange(0, K)
    mask = inside[:, None] & (channel >= 0)[None, :]
    at, y_at = row[:, None] * C + channel[None, :], row[:, None] * D + channel[None, :]
    up_at = row[:, None] * U + channel[None, :]
    scales = row * D + 3 * C + D_RANK + A_RANK + G_RANK + V_RANK + head
    total = sums + tl.program_id(0).to(tl.int64) * (3 * C + 2 * heads)

    # All loads come before the first store, since the compiler moves no load across a store.
    hidden_d = _tanh(_hidden(y, first, row, inside, D, 3 * C, D_RANK, R))
    hidden_a = _hidden(y, first, row, inside, D, 3 * C + D_RANK, A_RANK, R)
    keys, own = load_float(y, first * D, y_at + C, mask), load_float(y, first * D, y_at + 2 * C, mask)
    key_scale = load_float(y, first * D, scales, inside) + tl.load(bias_k_scale + head).to(tl.float32)
    value_scale = load_float(y, first * D, scales + heads, inside) + tl.load(bias_v_scale + head).to(tl.float32)
    decay_grad, k_grad = load_float(of_log_decay, first * C, at, mask), load_float(of_k_hat, first * C, at, mask)
    v_grad, b_grad = load_float(of_v, first * C, at, mask), load_float(of_b, first * C, at, mask)
    values, from_later = own, tl.zeros_like(own)
    if up_v is not None:
        hidden_v = _hidden(y, first, row, inside, D, 3 * C + D_RANK + A_RANK + G_RANK, V_RANK, R)
        mixed = tl.sigmoid(dot(hidden_v, _up_map(up_v, channel, V_RANK, R), precision) + bias_of(bias_v, channel))
        difference = load_float(v0, first * C, at, mask) - own
        values = own + mixed * difference
    if of_v0 is not None:
        from_later = load_float(of_v0, first * C, at, mask)

    share = tl.sigmoid(dot(hidden_d, _up_map(up_d, channel, D_RANK, R), precision) + bias_of(bias_d, channel))
    grad = -DECAY * decay_grad * share * (1 - share)
    tl.store(grad_up + first * U + up_at, grad, mask=mask)
    tl.store(total + channel, tl.sum(grad, 0))

    share = tl.sigmoid(dot(hidden_a, _up_map(up_a, channel, A_RANK, R), precision) + bias_of(bias_a, channel))
    of_keys, of_scale = _backward_unit(keys, key_scale, k_grad + b_grad * share)
    tl.store(grad_y + first * D + y_at + C, of_keys, mask=mask)
    tl.store(grad_y + first * D + scales, of_scale, mask=inside)
    tl.store(total + 3 * C + head, tl.sum(of_scale, 0))
    grad = b_grad * tl.sigmoid(key_scale)[:, None] * keys / length(keys) * share * (1 - share)
    tl.store(grad_up + first * U + up_at + C, grad, mask=mask)
    tl.store(total + C + channel, tl.sum(grad, 0))

    of_values, of_scale = _backward_unit(values, value_scale, v_grad)
    if up_v is not None:
        tl.store(grad_v0 + first * C + at, of_values * mixed, mask=mask)
        grad = of_values * difference * mixed * (1 - mixed)
        tl.store(grad_up + first * U + up_at + 3 * C, grad, mask=mask)
        tl.store(total + 2 * C + channel, tl.sum(grad, 0))
        of_values *= 1 - mixed
    tl.store(grad_y + first * D + y_at + 2 * C, of_values + from_later, mask=mask)
    tl.store(grad_y + first * D + scales + heads, of_scale, mask=inside)
    tl.store(total + 3 * C + heads + head, tl.sum(of_scale, 0))


@triton.jit(do_not_specialize=["rows"])
def _hidden_backward_kernel(
    y, of_active, grad_y, active, rows, D, first_hidden, D_RANK: tl.constexpr, GATE: tl.constexpr,
    GATE_END: tl.constexpr, RANKS: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Compute the activated hidden columns [N, RANKS], and the gradient before the activations."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, WIDTH)[None, :]
    mask = (row < (rows - first).to(tl.int32)) & (column < RANKS)
    at, y_at = row * RANKS + column, row * D + first_hidden + column
    x, grad = load_float(y, first * D, y_at, mask), load_float(of_active, first * RANKS, at, mask)
    value, slope = activated(x, column, D_RANK, GATE, GATE_END)
    tl.store(active + first * RANKS + at, value, mask=mask)
    tl.store(grad_y + first * D + y_at, grad * slope, mask=mask)


def time_inputs_backward(
    y: Tensor,
    v0: Tensor | None,
    up: UpWeights,
    grads: WkvInputs,
    of_v0: Tensor | None,
    grad_y: Tensor,
    grad_up: Tensor,
) -> tuple[Tensor | None, UpWeights]:
    """Write the gradients of k, v and hidden into grad_y [N, D]; return those of v0 and of the maps.

    `grads` has the gradients of the recurrence's arguments, [N, C] each, and `of_v0` that of the first layer's v as v0,
    or None. Columns 2 C to 3 C of grad_up, [N, 3 C] or with v_mix [N, 4 C], hold the gradient of the gate.
    """
    rows, channels = len(y), len(up.d)
    heads = len(up.k_scale_bias)
    sizes = _sizes(y, up)
    blocks = triton.cdiv(rows, sizes["ROWS"])
    sums = y.new_empty(blocks, 3 * channels + 2 * heads, dtype=torch.float32)
    grad_v0 = None if v0 is None else torch.empty_like(v0)
    launch(
        _inputs_backward_kernel,
        blocks,
        heads,
        y=y,
        v0=v0,
        up_d=up.d,
        bias_d=up.d_bias,
        up_a=up.a,
        bias_a=up.a_bias,
        up_v=up.v_mix,
        bias_v=up.v_mix_bias,
        bias_k_scale=up.k_scale_bias,
        bias_v_scale=up.v_scale_bias,
        **{f"of_{name}": x for name, x in grads.named("log_decay", "k_hat", "v", "b").items()},
        of_v0=of_v0,
        grad_y=grad_y,
        grad_up=grad_up,
        grad_v0=grad_v0,
        sums=sums,
        rows=rows,
        D=y.shape[1],
        U=grad_up.shape[1],
        heads=heads,
        K=channels // heads,
        **sizes,
    )
    active = _hidden_backward(y, grad_up, grad_y, up)
    return grad_v0, _sorted(grad_up.T @ active, sum_blocks(sums, y.dtype), up)


def _hidden_backward(y: Tensor, grad_up: Tensor, grad_y: Tensor, up: UpWeights) -> Tensor:
    """Write the gradient of hidden without the scales into grad_y; return the activated hidden columns [N, ranks]."""
    d, a, gate, _ = up.ranks
    channels, ranks = len(up.d), sum(up.ranks)
    of_active = grad_up @ cast(Tensor, up.whole)
    active = torch.empty_like(of_active)
    rows, sizes = len(active), other_sizes("hidden_backward")
    launch(
        _hidden_backward_kernel,
        triton.cdiv(rows, sizes["ROWS"]),
        y=y,
        of_active=of_active,
        grad_y=grad_y,
        active=active,
        rows=rows,
        D=y.shape[1],
        first_hidden=3 * channels,
        D_RANK=d,
        GATE=d + a,
        GATE_END=d + a + gate,
        RANKS=ranks,
        WIDTH=triton.next_power_of_2(ranks),
        **sizes,
    )
    return active


def _sorted(of_maps: Tensor, total: Tensor, up: UpWeights) -> UpWeights:
    """The gradients by name, from all products of the maps [4 C or 3 C, ranks] and from sums over rows [3 C + 2 H]."""
    channels, heads = len(up.d), len(up.k_scale_bias)
    d, a, gate, _ = up.ranks
    of_d, of_a, of_gate, *of_mix = of_maps.split(channels)
    d_bias, a_bias, mix_bias, k_scale_bias, v_scale_bias = total.split([channels] * 3 + [heads] * 2)
    return UpWeights(
        d=of_d[:, :d],
        d_bias=d_bias,
        a=of_a[:, d : d + a],
        a_bias=a_bias,
        gate=of_gate[:, d + a : d + a + gate],
        v_mix=of_mix[0][:, d + a + gate :] if of_mix else None,
        v_mix_bias=mix_bias if of_mix else None,
        k_scale_bias=k_scale_bias,
        v_scale_bias=v_scale_bias,
        whole=None,
    )


def _sizes(y: Tensor, up: UpWeights) -> dict[str, Any]:
    ranks = dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), up.ranks, strict=True))
    rank = max(LEAST_PRODUCT, triton.next_power_of_2(max(up.ranks)))
    return {"C": len(up.d), "R": rank, **ranks, **product_sizes("time_inputs_backward", y.dtype)}
