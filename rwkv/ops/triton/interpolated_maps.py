"""The maps of a time mixer's interpolations side by side on a GPU, defined by rwkv/ops/interpolated_maps.py."""
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.blocks import channel_sizes, channels_of, launch, load_float
from rwkv.ops.triton.tuning import other_sizes


@triton.jit
def _maps_kernel(W, lerp, number, maps, rows, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr):
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, C_WIDTH)[None, :]
    inside = row < rows
    mask = channels_of(inside, C, C_WIDTH)
    own = load_float(W, 0, row[:, None] * C + column, mask)
    share = load_float(lerp, 0, tl.load(number + row, mask=inside, other=0)[:, None] * C + column, mask)
    at = row[:, None] * 2 * C + column
    tl.store(maps + at, own, mask=mask)
    tl.store(maps + at + C, own * share, mask=mask)


@triton.jit
def _maps_backward_kernel(
    W, lerp, number, of_maps, of_W, of_lerp, rows, lerps, ROWS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr
):
    """The gradient of one interpolation by each of the first programs, and of ROWS rows of W by each of the others."""
    program, column = tl.program_id(0), tl.arange(0, C_WIDTH)[None, :]
    if program < lerps:
        total = tl.zeros((ROWS, C_WIDTH), tl.float32)
        for first in range(0, rows, ROWS):
            row = first + tl.arange(0, ROWS)
            is_its = (row < rows) & (tl.load(number + row, mask=row < rows, other=-1) == program)
            mask = channels_of(is_its, C, C_WIDTH)
            grad = load_float(of_maps, 0, row[:, None] * 2 * C + C + column, mask)
            total += grad * load_float(W, 0, row[:, None] * C + column, mask)
        tl.store(of_lerp + program * C + column, tl.sum(total, 0)[None, :], mask=column < C)
    else:
        row = (program - lerps) * ROWS + tl.arange(0, ROWS)
        inside = row < rows
        mask = channels_of(inside, C, C_WIDTH)
        share = load_float(lerp, 0, tl.load(number + row, mask=inside, other=0)[:, None] * C + column, mask)
        at = row[:, None] * 2 * C + column
        grad = load_float(of_maps, 0, at, mask) + share * load_float(of_maps, 0, at + C, mask)
        tl.store(of_W + row[:, None] * C + column, grad, mask=mask)


@triton.jit
def _block(map, column, row, first_row, FIRST: tl.constexpr, RANK: tl.constexpr, C: tl.constexpr):
    """RANK columns from FIRST of the rows from first_row to first_row + C, zero elsewhere."""
    if map is None:
        return tl.zeros((row.shape[0], column.shape[0]), tl.float32)
    else:
        is_row = (row >= first_row) & (row < first_row + C)
        mask = is_row[:, None] & ((column >= FIRST) & (column < FIRST + RANK))[None, :]
        return load_float(map, 0, (row - first_row)[:, None] * RANK + (column - FIRST)[None, :], mask)


@triton.jit
def _diagonal_kernel(
    d, a, gate, v_mix, whole, rows, C: tl.constexpr, D_RANK: tl.constexpr, A_RANK: tl.constexpr, G_RANK: tl.constexpr,
    V_RANK: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    RANKS: tl.constexpr = D_RANK + A_RANK + G_RANK + V_RANK
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    values = _block(d, column, row, 0, 0, D_RANK, C) + _block(a, column, row, C, D_RANK, A_RANK, C)
    values += _block(gate, column, row, 2 * C, D_RANK + A_RANK, G_RANK, C)
    values += _block(v_mix, column, row, 3 * C, D_RANK + A_RANK + G_RANK, V_RANK, C)
    at = whole + row[:, None] * RANKS + column[None, :]
    tl.store(at, values, mask=(row < rows)[:, None] & (column < RANKS)[None, :])


def block_diagonal(maps: Sequence[Tensor]) -> Tensor:
    """The three or four maps [C, rank] of hidden columns as diagonal blocks, [3 C or 4 C, ranks]."""
    sizes, channels = other_sizes("interpolated_maps"), len(maps[0])
    ranks = [part.shape[1] for part in maps]
    whole = maps[0].new_empty(len(maps) * channels, sum(ranks))
    launch(
        _diagonal_kernel,
        triton.cdiv(len(whole), sizes["ROWS"]),
        **dict(zip(("d", "a", "gate", "v_mix"), [*maps, None], strict=False)),
        whole=whole,
        rows=len(whole),
        C=channels,
        **dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), [*ranks, 0], strict=False)),
        WIDTH=triton.next_power_of_2(sum(ranks)),
        **sizes,
    )
    return whole


@triton.jit
def _parts_kernel(
    padded, parts, C: tl.constexpr, R: tl.constexpr, D_RANK: tl.constexpr, A_RANK: tl.constexpr, G_RANK: tl.constexpr,
    V_RANK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    number, column = tl.program_id(1), tl.arange(0, R)[None, :]
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    rank = tl.where(number == 0, D_RANK, tl.where(number == 1, A_RANK, tl.where(number == 2, G_RANK, V_RANK)))
    before = tl.where(number > 0, D_RANK, 0) + tl.where(number > 1, A_RANK, 0) + tl.where(number > 2, G_RANK, 0)
    values = tl.load(padded + (number * C + row) * R + column, mask=row < C, other=0)
    first = parts + (before + number) * C
    at = tl.where(column < rank, row * rank + column, rank * C + row)
    tl.store(first + at, values, mask=(row < C) & (column <= rank))


def maps_and_biases(padded: Tensor, ranks: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Contiguous maps [C, rank] and biases [C] from [maps, C, R], whose column `rank` is the bias; 3 or 4 maps."""
    count, channels, width = padded.shape
    sizes, ranks = other_sizes("interpolated_maps"), list(ranks)[:count]
    parts = padded.new_empty(channels * (sum(ranks) + count))
    launch(
        _parts_kernel,
        triton.cdiv(channels, sizes["ROWS"]),
        count,
        padded=padded,
        parts=parts,
        C=channels,
        R=width,
        **dict(zip(("D_RANK", "A_RANK", "G_RANK", "V_RANK"), [*ranks, 0], strict=False)),
        **sizes,
    )
    split = parts.split([size for rank in ranks for size in (channels * rank, channels)])
    return [(map.view(channels, -1), vector) for map, vector in zip(split[::2], split[1::2], strict=True)]


def interpolated_maps(W: Tensor, lerp: Tensor, number: Tensor) -> Tensor:
    """[W | W lerp[number]], [D, 2 C], from contiguous W [D, C] and lerp [lerps, C], and number int32 [D]."""
    (rows, channels), sizes = W.shape, other_sizes("interpolated_maps")
    maps = W.new_empty(rows, 2 * channels)
    programs = triton.cdiv(rows, sizes["ROWS"])
    given = {"W": W, "lerp": lerp, "number": number, "rows": rows, **channel_sizes(channels), **sizes}
    launch(_maps_kernel, programs, **given, maps=maps)
    return maps


def interpolated_maps_backward(W: Tensor, lerp: Tensor, number: Tensor, of_maps: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of W and lerp, from that of the maps."""
    (rows, channels), sizes = W.shape, other_sizes("interpolated_maps")
    of_W, of_lerp = torch.empty_like(W), torch.empty_like(lerp)
    programs = len(lerp) + triton.cdiv(rows, sizes["ROWS"])
    given = {"W": W, "lerp": lerp, "number": number, "rows": rows, **channel_sizes(channels), **sizes}
    launch(_maps_backward_kernel, programs, **given, of_maps=of_maps, of_W=of_W, of_lerp=of_lerp, lerps=len(lerp))
    return of_W, of_lerp
