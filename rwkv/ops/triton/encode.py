"""The encoder as one kernel on a GPU: from stored rows to the input of the first stream, without gradients.

The definition is rwkv/model/inputs.py followed by `features2card` of rwkv/model/network.py. The inputs are computed in
three blocks of columns (features, codes, calendar), each with its own product. Only x is written. For training, the
inputs alone are written, too.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rwkv.ops.triton.arguments import EncoderWeights, InputColumns, StoredRows
from rwkv.ops.triton.blocks import channel_sizes, channels_of, dot, launch, load_channels
from rwkv.ops.triton.reductions import join_moments
from rwkv.ops.triton.tuning import LEAST_PRODUCT, other_sizes, product_sizes

_HALF_PI = tl.constexpr(math.pi / 2)


@triton.jit
def _mix(z):
    z = z + tl.full((), 0x9E3779B97F4A7C15, tl.uint64)
    z = (z ^ (z >> 30)) * tl.full((), 0xBF58476D1CE4E5B9, tl.uint64)
    z = (z ^ (z >> 27)) * tl.full((), 0x94D049BB133111EB, tl.uint64)
    return z ^ (z >> 31)


@triton.jit
def _bits(x):
    return x.to(tl.int64).to(tl.uint64, bitcast=True)


# The first row of a program is addressed with 64 bits, offsets from it with 32. Values beyond the last column are
# finite and are multiplied by weights that are loaded as zero.
@triton.jit
def _features(features, first, row, inside, F: tl.constexpr, WIDTH: tl.constexpr):
    column = tl.arange(0, WIDTH)
    mask = inside[:, None] & (column < F)[None, :]
    return tl.load(features + first * F + (row[:, None] * F + column[None, :]), mask=mask, other=0)


@triton.jit
def _codes(
    entities, prefix, first, row, inside, rows, stream_number, component, CODES: tl.constexpr, WIDTH: tl.constexpr
):
    """Identity codes [ROWS, WIDTH] from each row's prefix and each column's stream and component."""
    column = tl.arange(0, WIDTH)
    stream = tl.load(stream_number + column, mask=column < CODES, other=0)
    component = tl.load(component + column, mask=column < CODES, other=0)
    at = entities + first + stream.to(tl.int64)[None, :] * rows + row[:, None]
    entity = tl.load(at, mask=inside[:, None], other=0)
    of_entity = _mix(_mix(_bits(prefix)[:, None] ^ _bits(stream)[None, :]) ^ _bits(entity))
    hashed = _mix(of_entity ^ _bits(component)[None, :])
    return (hashed & 3).to(tl.int32).to(tl.float32) - 1.5


@triton.jit
def _calendar(
    phases, day, first_day, sequence, first, row, inside, period, DAYS: tl.constexpr, CYCLES: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Calendar columns [ROWS, WIDTH]: for each period sine and cosine of the day, then those of the first day.

    A cosine is a sine a quarter period later, so the angle is (pi / 2) q / period with an exact integer q. Its float32
    sine within half a turn has an error of 1e-6.
    """
    column = tl.arange(0, WIDTH)
    number, is_first, is_cosine = column // 4, (column // 2) % 2 == 1, column % 2
    valid = column < CYCLES
    days = tl.load(period + number, mask=valid, other=1)[None, :]
    today = tl.load(day + first + row, mask=inside, other=0)
    began = tl.load(first_day + first + row, mask=inside, other=0)
    at = sequence[:, None] * DAYS + number[None, :]
    phase = tl.load(phases + at, mask=inside[:, None] & valid[None, :], other=0).to(tl.int32)
    # The remainder has the sign of the day; with the phase it lies between -days and 2 days.
    turn = tl.where(is_first[None, :], began[:, None], today[:, None]) % days + phase
    quarters = 4 * turn + (is_cosine * days)
    quarters -= tl.where(quarters > 2 * days, 4 * days, 0)
    quarters -= tl.where(quarters > 2 * days, 4 * days, 0)
    quarters += tl.where(quarters < -2 * days, 4 * days, 0)
    return tl.sin(quarters.to(tl.float32) * (_HALF_PI / days.to(tl.float32)))


@triton.jit
def _map(
    weight, begin, limit, stride, FIRST: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
):  # fmt: skip
    """A transposed block of weight [limit, stride]: COLUMNS columns from FIRST, HIDDEN rows from `begin`."""
    row, column = begin + tl.arange(0, HIDDEN), tl.arange(0, WIDTH)
    mask = (row < limit)[:, None] & (column < COLUMNS)[None, :]
    return tl.trans(tl.load(weight + (row[:, None] * stride + FIRST + column[None, :]), mask=mask, other=0))


@triton.jit
def _silu(x):
    return x * tl.sigmoid(x)


@triton.jit
def _hidden(
    features, codes, calendar, W_in, b_in, begin, limit, F: tl.constexpr, CODES: tl.constexpr, CYCLES: tl.constexpr,
    F_WIDTH: tl.constexpr, CODE_WIDTH: tl.constexpr, CYCLE_WIDTH: tl.constexpr, HIDDEN: tl.constexpr,
    precision: tl.constexpr,
):  # fmt: skip
    """HIDDEN activated columns from `begin`, float32 [ROWS, HIDDEN]; zero from `limit` on."""
    INPUTS: tl.constexpr = F + CODES + CYCLES
    column = begin + tl.arange(0, HIDDEN)
    total = dot(features, _map(W_in, begin, limit, INPUTS, 0, F, F_WIDTH, HIDDEN), precision)
    total += dot(codes, _map(W_in, begin, limit, INPUTS, F, CODES, CODE_WIDTH, HIDDEN), precision)
    total += dot(calendar, _map(W_in, begin, limit, INPUTS, F + CODES, CYCLES, CYCLE_WIDTH, HIDDEN), precision)
    return _silu(total + tl.load(b_in + column, mask=column < limit, other=0).to(tl.float32)[None, :])


@triton.jit(do_not_specialize=["rows"])
def _encode_kernel(
    features, entities, sequence, prefix, phases, day, first_day, stream_number, component, period,
    W_in, b_in, norm_weight, W_out, sums, bias, x, rows, hidden, eps,
    F: tl.constexpr, CODES: tl.constexpr, DAYS: tl.constexpr, C: tl.constexpr, C_WIDTH: tl.constexpr,
    F_WIDTH: tl.constexpr, CODE_WIDTH: tl.constexpr, CYCLE_WIDTH: tl.constexpr, ROWS: tl.constexpr,
    HIDDEN: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    CYCLES: tl.constexpr = 4 * DAYS
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    of_sequence = tl.load(sequence + first + row, mask=inside, other=0)
    bits = tl.load(prefix + of_sequence, mask=inside, other=0)
    own = _features(features, first, row, inside, F, F_WIDTH).to(W_in.dtype.element_ty)
    codes = _codes(entities, bits, first, row, inside, rows, stream_number, component, CODES, CODE_WIDTH)
    codes = codes.to(W_in.dtype.element_ty)
    calendar = _calendar(phases, day, first_day, of_sequence, first, row, inside, period, DAYS, CYCLES, CYCLE_WIDTH)
    calendar = calendar.to(W_in.dtype.element_ty)

    # The norm is linear but for each row's mean and deviation, so it is applied after the last map. Columns are shifted
    # by the mean of the first block before they are rounded, since they may lie far from zero.
    mean, deviations = tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
    shift = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, C_WIDTH), tl.float32)
    for begin in range(0, hidden, HIDDEN):
        column = begin + tl.arange(0, HIDDEN)
        valid = column < hidden
        h = _hidden(
            own, codes, calendar, W_in, b_in, begin, hidden, F, CODES, CYCLES, F_WIDTH, CODE_WIDTH, CYCLE_WIDTH,
            HIDDEN, precision,
        )  # fmt: skip
        mean, deviations = join_moments(
            mean, deviations, begin, h, valid, tl.minimum(hidden - begin, HIDDEN).to(tl.float32)
        )
        if begin == 0:
            shift = mean
        weight = tl.load(norm_weight + column, mask=valid, other=0).to(tl.float32)[None, :]
        out, inside_map = tl.arange(0, C_WIDTH), valid[None, :]
        if C_WIDTH != C:
            inside_map = inside_map & (out < C)[:, None]
        block = tl.load(W_out + (out[:, None] * hidden + column[None, :]), mask=inside_map, other=0)
        total += dot((h - shift[:, None]) * weight, tl.trans(block), precision)
    total -= (mean - shift)[:, None] * load_channels(sums, C, C_WIDTH)
    total *= (1.0 / tl.sqrt(deviations / hidden + eps))[:, None]
    total = _silu(total + load_channels(bias, C, C_WIDTH))
    at = row[:, None] * C + tl.arange(0, C_WIDTH)[None, :]
    tl.store(x + first * C + at, total, mask=channels_of(inside, C, C_WIDTH))


@triton.jit(do_not_specialize=["rows"])
def _inputs_kernel(
    features, entities, sequence, prefix, phases, day, first_day, stream_number, component, period, inputs, rows,
    F: tl.constexpr, CODES: tl.constexpr, DAYS: tl.constexpr, F_WIDTH: tl.constexpr, CODE_WIDTH: tl.constexpr,
    CYCLE_WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    CYCLES: tl.constexpr = 4 * DAYS
    INPUTS: tl.constexpr = F + CODES + CYCLES
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = tl.arange(0, ROWS)
    inside = row < (rows - first).to(tl.int32)
    of_sequence = tl.load(sequence + first + row, mask=inside, other=0)
    bits = tl.load(prefix + of_sequence, mask=inside, other=0)
    own = _features(features, first, row, inside, F, F_WIDTH)
    codes = _codes(entities, bits, first, row, inside, rows, stream_number, component, CODES, CODE_WIDTH)
    calendar = _calendar(phases, day, first_day, of_sequence, first, row, inside, period, DAYS, CYCLES, CYCLE_WIDTH)
    at = inputs + first * INPUTS + row[:, None] * INPUTS
    column = tl.arange(0, F_WIDTH)[None, :]
    tl.store(at + column, own, mask=inside[:, None] & (column < F))
    column = tl.arange(0, CODE_WIDTH)[None, :]
    tl.store(at + F + column, codes, mask=inside[:, None] & (column < CODES))
    column = tl.arange(0, CYCLE_WIDTH)[None, :]
    tl.store(at + F + CODES + column, calendar, mask=inside[:, None] & (column < CYCLES))


def encoded_inputs(rows: StoredRows, columns: InputColumns, dtype: torch.dtype) -> Tensor:
    """The network's inputs, [N, E] in a dtype."""
    widths, sizes = _widths(rows, columns), other_sizes("inputs")
    count = widths["F"] + widths["CODES"] + 4 * widths["DAYS"]
    inputs = rows.features.new_empty(len(rows), count, dtype=dtype)
    programs = triton.cdiv(len(rows), sizes["ROWS"])
    launch(
        _inputs_kernel, programs, **vars(rows), **columns._asdict(), inputs=inputs, rows=len(rows), **widths, **sizes
    )
    return inputs


def encode_forward(rows: StoredRows, columns: InputColumns, weights: EncoderWeights) -> Tensor:
    """Encode the rows: x [N, C] in the dtype of the weights."""
    channels, hidden = weights.W_out.shape
    x = weights.W_out.new_empty(len(rows), channels)
    sizes = _sizes(rows, columns, weights)
    launch(
        _encode_kernel,
        triton.cdiv(len(rows), sizes["ROWS"]),
        **vars(rows),
        **columns._asdict(),
        **weights._asdict(),
        x=x,
        rows=len(rows),
        hidden=hidden,
        **sizes,
    )
    return x


def _sizes(rows: StoredRows, columns: InputColumns, weights: EncoderWeights) -> dict[str, Any]:
    sizes = channel_sizes(len(weights.W_out))
    products = product_sizes("encode", weights.W_in.dtype, sizes["C_WIDTH"])
    return _widths(rows, columns) | sizes | products


def _widths(rows: StoredRows, columns: InputColumns) -> dict[str, int]:
    """The numbers of features, codes and periods, and the widths of their blocks of columns."""
    features, codes, days = rows.features.shape[1], len(columns.stream_number), len(columns.period)
    widths = (max(LEAST_PRODUCT, triton.next_power_of_2(count)) for count in (features, codes, 4 * days))
    return {
        "F": features,
        "CODES": codes,
        "DAYS": days,
        **dict(zip(("F_WIDTH", "CODE_WIDTH", "CYCLE_WIDTH"), widths, strict=True)),
    }
