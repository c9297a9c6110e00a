"""The channel mixer on a GPU with its residual and dropouts: two kernels forward, two and two products backward.

The definition is rwkv/ops/channel_mix.py within a layer of rwkv/model/streams.py. Only x is kept for the gradient;
the inner columns are recomputed block by block. Rows are normalised and interpolated by a kernel of their own, since
within the kernels of the products this takes so many registers that too few programs run at once.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.channel_mix import ChannelWeights
from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import channel_sizes, channels_of, dot, launch, load_channels, load_float, store_channels
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.shift import pair_of, shifted_pairs_backward
from rwkv.ops.triton.tuning import other_sizes, product_sizes


@triton.jit
def _load_block(
    weight, first, limit, row_stride, C: tl.constexpr, C_WIDTH: tl.constexpr, INNER: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """INNER rows of W_k [inner, C] from `first`; if TRANSPOSED, INNER columns of W_v [C, inner] as rows."""
    inner, column = first + tl.arange(0, INNER)[:, None], tl.arange(0, C_WIDTH)[None, :]
    at = column * row_stride + inner if TRANSPOSED else inner * row_stride + column
    mask = inner < limit
    if C_WIDTH != C:
        mask = mask & (column < C)
    return tl.load(weight + at, mask=mask, other=0)


@triton.jit(do_not_specialize=["rows", "site", "threshold", "layer_site", "layer_threshold"])
def _mixed_kernel(
    x, norm_weight, norm_bias, lerp, source, before, of_z, seed, layer_seed, mixed, difference_out, of_mixer, rows,
    site, threshold, scale, layer_site, layer_threshold, layer_scale,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The interpolated rows; for the backward pass also s - x', and the gradient of the mixer from that of z."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    mask = channels_of(row < (rows - first).to(tl.int32), C, C_WIDTH)
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    own, difference = pair_of(x, norm_weight, norm_bias, source, before, first, rows, ROWS, C, C_WIDTH)
    tl.store(mixed + first * C + at, own + load_channels(lerp, C, C_WIDTH) * difference, mask=mask)
    if of_z is not None:
        tl.store(difference_out + first * C + at, difference, mask=mask)
        grad = load_float(of_z, first * C, at, mask)
        grad = dropped(grad, first * C, at, C, layer_seed, layer_site, layer_threshold, layer_scale)
        grad = dropped(grad, first * C, at, C, seed, site, threshold, scale)
        tl.store(of_mixer + first * C + at, grad, mask=mask)


@triton.jit(do_not_specialize=["rows", "site", "threshold", "layer_site", "layer_threshold"])
def _forward_kernel(
    x, mixed, W_k, W_v, seed, layer_seed, z, rows, inner, site, threshold, scale, layer_site, layer_threshold,
    layer_scale, C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    """z from the interpolated rows; it may overwrite them."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    mask = channels_of(row < (rows - first).to(tl.int32), C, C_WIDTH)
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    values = tl.load(mixed + first * C + at, mask=mask, other=0)
    total = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, inner, INNER):
        block = _load_block(W_k, begin, inner, C, C, C_WIDTH, INNER, False)
        active = tl.maximum(dot(values, tl.trans(block), precision), 0.0)
        total += dot(active * active, _load_block(W_v, begin, inner, inner, C, C_WIDTH, INNER, True), precision)
    result = load_float(x, first * C, at, mask) + dropped(total, first * C, at, C, seed, site, threshold, scale)
    result = dropped(result, first * C, at, C, layer_seed, layer_site, layer_threshold, layer_scale)
    tl.store(z + first * C + at, result, mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _backward_kernel(
    mixed, difference, of_mixer, lerp, W_k, W_v, active_out, of_inner, of_pair, sums, rows, inner,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The gradient of the pairs, and the inputs of the weights' products; sums is float32 [blocks, C]."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, C_WIDTH)
    inside = row < (rows - first).to(tl.int32)
    mask = channels_of(inside, C, C_WIDTH)
    at = row[:, None] * C + column[None, :]
    values = tl.load(mixed + first * C + at, mask=mask, other=0)
    grad = tl.load(of_mixer + first * C + at, mask=mask, other=0)
    of_mixed = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, inner, INNER):
        place = begin + tl.arange(0, INNER)[None, :]
        inner_at = row[:, None] * inner + place
        valid = inside[:, None] & (place < inner)
        block = _load_block(W_k, begin, inner, C, C, C_WIDTH, INNER, False)
        positive = tl.maximum(dot(values, tl.trans(block), precision), 0.0)
        tl.store(active_out + first * inner + inner_at, positive * positive, mask=valid)
        map_block = _load_block(W_v, begin, inner, inner, C, C_WIDTH, INNER, True)
        of_block = (2 * positive * dot(grad, tl.trans(map_block), precision)).to(W_k.dtype.element_ty)
        tl.store(of_inner + first * inner + inner_at, of_block, mask=valid)
        of_mixed += dot(of_block, block, precision)
    pair_at = row[:, None] * 2 * C + column[None, :]
    tl.store(of_pair + first * 2 * C + pair_at, of_mixed, mask=mask)
    tl.store(of_pair + first * 2 * C + pair_at + C, of_mixed * load_channels(lerp, C, C_WIDTH), mask=mask)
    total = sums + tl.program_id(0).to(tl.int64) * C + column
    store_channels(total, tl.sum(of_mixed * load_float(difference, first * C, at, mask), 0), C, C_WIDTH)


def channel_mix_forward(
    x: Tensor, weights: ChannelWeights, source: Tensor, before: Tensor | None, drop: Drop, layer_drop: Drop
) -> Tensor:
    """layer_drop(x + drop(ChannelMixer(x))), [N, C]; source and before are those of `token_mix`."""
    mixed, drops, sizes = torch.empty_like(x), _drops(drop, layer_drop), _sizes(x, "channel_mix")
    _mix(x, weights, source, before, drops, mixed)
    launch(
        _forward_kernel,
        triton.cdiv(len(x), sizes["ROWS"]),
        x=x,
        mixed=mixed,
        W_k=weights.W_k,
        W_v=weights.W_v,
        z=mixed,
        rows=len(x),
        inner=len(weights.W_k),
        **drops,
        **sizes,
    )
    return mixed


def channel_mix_backward(
    x: Tensor, weights: ChannelWeights, source: Tensor, drop: Drop, layer_drop: Drop, of_z: Tensor
) -> tuple[Tensor, ChannelWeights]:
    """The gradients of x and of the weights, from the gradient of the result."""
    rows, channels = x.shape
    inner, sizes = weights.W_k.shape[0], _sizes(x, "channel_mix_backward")
    blocks = triton.cdiv(rows, sizes["ROWS"])
    mixed, difference, of_mixer = (torch.empty_like(x) for _ in range(3))
    _mix(x, weights, source, None, _drops(drop, layer_drop), mixed, difference, of_z, of_mixer)
    active, of_inner, of_pair = (x.new_empty(rows, width) for width in (inner, inner, 2 * channels))
    sums = x.new_empty(blocks, channels, dtype=torch.float32)
    launch(
        _backward_kernel,
        blocks,
        mixed=mixed,
        difference=difference,
        of_mixer=of_mixer,
        lerp=weights.lerp,
        W_k=weights.W_k,
        W_v=weights.W_v,
        active_out=active,
        of_inner=of_inner,
        of_pair=of_pair,
        sums=sums,
        rows=rows,
        inner=inner,
        **sizes,
    )
    of_W_k, of_W_v = of_inner.T @ mixed, of_mixer.T @ active
    del mixed, difference, of_mixer, active, of_inner
    of_x, of_weight, of_bias = shifted_pairs_backward(x, weights.norm_weight, source, of_pair, of_z, layer_drop)
    return of_x, ChannelWeights(
        norm_weight=of_weight, norm_bias=of_bias, lerp=sum_blocks(sums, x.dtype), W_k=of_W_k, W_v=of_W_v
    )


def _mix(
    x: Tensor,
    weights: ChannelWeights,
    source: Tensor,
    before: Tensor | None,
    drops: dict[str, Any],
    mixed: Tensor,
    difference: Tensor | None = None,
    of_z: Tensor | None = None,
    of_mixer: Tensor | None = None,
) -> None:
    """Write the interpolated rows, and with of_z what the backward pass reads, see `_mixed_kernel`."""
    sizes = other_sizes("channel_rows")
    launch(
        _mixed_kernel,
        triton.cdiv(len(x), sizes["ROWS"]),
        x=x,
        norm_weight=weights.norm_weight,
        norm_bias=weights.norm_bias,
        lerp=weights.lerp,
        source=source,
        before=before,
        of_z=of_z,
        mixed=mixed,
        difference_out=difference,
        of_mixer=of_mixer,
        rows=len(x),
        **drops,
        **channel_sizes(x.shape[1]),
        **sizes,
    )


def _drops(drop: Drop, layer_drop: Drop) -> dict[str, Any]:
    return drop.arguments | {f"layer_{name}": value for name, value in layer_drop.arguments.items()}


def _sizes(x: Tensor, kernel: str) -> dict[str, Any]:
    sizes = channel_sizes(x.shape[1])
    return sizes | product_sizes(kernel, x.dtype, sizes["C_WIDTH"])
