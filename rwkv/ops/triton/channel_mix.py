"""The channel mixer on a GPU with its residual and dropouts: one kernel forward, one kernel and two products backward.

The definition is rwkv/ops/channel_mix.py within a layer of rwkv/model/streams.py. Only x is kept for the gradient;
the inner columns are recomputed block by block.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.channel_mix import ChannelWeights
from rwkv.ops.dropout import Drop
from rwkv.ops.triton.blocks import channel_sizes, dot, launch, load_channels, store_channels
from rwkv.ops.triton.dropout import dropped
from rwkv.ops.triton.reductions import sum_blocks
from rwkv.ops.triton.shift import pair_of, shifted_pairs_backward
from rwkv.ops.triton.tuning import product_sizes


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
def _channel_forward_kernel(
    x, norm_weight, norm_bias, lerp, W_k, W_v, source, before, seed, layer_seed, z, rows, inner,
    site, threshold, scale, layer_site, layer_threshold, layer_scale,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, C_WIDTH)
    inside = row < (rows - first).to(tl.int32)
    own, difference = pair_of(x, norm_weight, norm_bias, source, before, first, rows, ROWS, C, C_WIDTH)
    mixed = (own + load_channels(lerp, C, C_WIDTH) * difference).to(W_k.dtype.element_ty)
    total = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, inner, INNER):
        block = _load_block(W_k, begin, inner, C, C, C_WIDTH, INNER, False)
        active = tl.maximum(dot(mixed, tl.trans(block), precision), 0.0)
        total += dot(active * active, _load_block(W_v, begin, inner, inner, C, C_WIDTH, INNER, True), precision)
    at = row[:, None] * C + column[None, :]
    full = inside[:, None] & (column < C)[None, :]
    result = tl.load(x + first * C + at, mask=full, other=0).to(tl.float32) + dropped(
        total, first * C, at, C, seed, site, threshold, scale
    )
    tl.store(
        z + first * C + at,
        dropped(result, first * C, at, C, layer_seed, layer_site, layer_threshold, layer_scale),
        mask=full,
    )


@triton.jit(do_not_specialize=["rows", "site", "threshold", "layer_site", "layer_threshold"])
def _channel_backward_kernel(
    x, norm_weight, norm_bias, lerp, W_k, W_v, source, seed, layer_seed, of_z,
    mixed_out, of_mixer, active_out, of_inner, of_pair, sums, rows, inner,
    site, threshold, scale, layer_site, layer_threshold, layer_scale,
    C: tl.constexpr, C_WIDTH: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Compute the inputs of the products for the gradients of weights and LayerNorm; sums is float32 [blocks, C]."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, C_WIDTH)
    inside = row < (rows - first).to(tl.int32)
    at = row[:, None] * C + column[None, :]
    full = inside[:, None] & (column < C)[None, :]
    weight = load_channels(lerp, C, C_WIDTH)
    own, difference = pair_of(x, norm_weight, norm_bias, source, None, first, rows, ROWS, C, C_WIDTH)
    mixed = (own + weight * difference).to(W_k.dtype.element_ty)
    tl.store(mixed_out + first * C + at, mixed, mask=full)
    grad = tl.load(of_z + first * C + at, mask=full, other=0).to(tl.float32)
    grad = dropped(grad, first * C, at, C, layer_seed, layer_site, layer_threshold, layer_scale)
    grad = dropped(grad, first * C, at, C, seed, site, threshold, scale).to(W_k.dtype.element_ty)
    tl.store(of_mixer + first * C + at, grad, mask=full)
    of_mixed = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, inner, INNER):
        place = begin + tl.arange(0, INNER)[None, :]
        inner_at = row[:, None] * inner + place
        valid = inside[:, None] & (place < inner)
        block = _load_block(W_k, begin, inner, C, C, C_WIDTH, INNER, False)
        positive = tl.maximum(dot(mixed, tl.trans(block), precision), 0.0)
        tl.store(active_out + first * inner + inner_at, positive * positive, mask=valid)
        values = _load_block(W_v, begin, inner, inner, C, C_WIDTH, INNER, True)
        of_block = 2 * positive * dot(grad, tl.trans(values), precision)
        tl.store(of_inner + first * inner + inner_at, of_block, mask=valid)
        of_mixed += dot(of_block.to(W_k.dtype.element_ty), block, precision)
    pair_at = row[:, None] * 2 * C + column[None, :]
    tl.store(of_pair + first * 2 * C + pair_at, of_mixed, mask=full)
    tl.store(of_pair + first * 2 * C + pair_at + C, of_mixed * weight, mask=full)
    own, difference = pair_of(x, norm_weight, norm_bias, source, None, first, rows, ROWS, C, C_WIDTH)
    total = sums + tl.program_id(0).to(tl.int64) * C + column
    store_channels(total, tl.sum(of_mixed * difference, 0), C, C_WIDTH)


def channel_mix_forward(
    x: Tensor, weights: ChannelWeights, source: Tensor, before: Tensor | None, drop: Drop, layer_drop: Drop
) -> Tensor:
    """layer_drop(x + drop(ChannelMixer(x))), [N, C]; source and before are those of `token_mix`."""
    z, rows, sizes = torch.empty_like(x), len(x), _sizes(x)
    launch(
        _channel_forward_kernel,
        triton.cdiv(rows, sizes["ROWS"]),
        x=x,
        **weights._asdict(),
        source=source,
        before=before,
        z=z,
        rows=rows,
        inner=len(weights.W_k),
        **_drops(drop, layer_drop),
        **sizes,
    )
    return z


def channel_mix_backward(
    x: Tensor, weights: ChannelWeights, source: Tensor, drop: Drop, layer_drop: Drop, of_z: Tensor
) -> tuple[Tensor, ChannelWeights]:
    """The gradients of x and of the weights, from the gradient of the result."""
    rows, channels = x.shape
    inner, sizes = weights.W_k.shape[0], _sizes(x)
    blocks = triton.cdiv(rows, sizes["ROWS"])
    mixed, of_mixer, of_pair = torch.empty_like(x), torch.empty_like(x), x.new_empty(rows, 2 * channels)
    active, of_inner = x.new_empty(rows, inner), x.new_empty(rows, inner)
    sums = x.new_empty(blocks, channels, dtype=torch.float32)
    launch(
        _channel_backward_kernel,
        blocks,
        x=x,
        **weights._asdict(),
        source=source,
        of_z=of_z,
        mixed_out=mixed,
        of_mixer=of_mixer,
        active_out=active,
        of_inner=of_inner,
        of_pair=of_pair,
        sums=sums,
        rows=rows,
        inner=inner,
        **_drops(drop, layer_drop),
        **sizes,
    )
    of_W_k, of_W_v = of_inner.T @ mixed, of_mixer.T @ active
    del mixed, of_mixer, active, of_inner
    of_x, of_weight, of_bias = shifted_pairs_backward(x, weights.norm_weight, source, of_pair, of_z, layer_drop)
    return of_x, ChannelWeights(
        norm_weight=of_weight, norm_bias=of_bias, lerp=sum_blocks(sums, x.dtype), W_k=of_W_k, W_v=of_W_v
    )


def _drops(drop: Drop, layer_drop: Drop) -> dict[str, Any]:
    return drop.arguments | {f"layer_{name}": value for name, value in layer_drop.arguments.items()}


def _sizes(x: Tensor) -> dict[str, Any]:
    sizes = channel_sizes(x.shape[1])
    return sizes | product_sizes("channel_mix", x.dtype, sizes["C_WIDTH"])
