"""Functions of all kernels: launching, loading blocks, and products."""
# mypy: allow-untyped-defs, allow-untyped-calls

import math
from typing import Any

import triton
import triton.language as tl

from rwkv.ops.triton.tuning import LEAST_PRODUCT


def channel_sizes(channels: int) -> dict[str, int]:
    """The constants of a kernel with rows of C channels: C, and C_WIDTH, the columns of its blocks.

    C_WIDTH is the least power of two that is at least C. Columns from C on are zero; if there are none, no mask is
    compiled.
    """
    return {"C": channels, "C_WIDTH": max(LEAST_PRODUCT, triton.next_power_of_2(channels))}


def launch(kernel: Any, *programs: int, **arguments: Any) -> None:
    """Run a Triton kernel on a grid of programs, if any; its constants and compiler options are arguments too."""
    if math.prod(programs):
        kernel[programs](**arguments)


@triton.jit
def channels_of(inside, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """The mask of the channels of rows inside, [ROWS, C_WIDTH], or [ROWS, 1] if all columns are channels."""
    if C_WIDTH == C:
        return inside[:, None]
    else:
        return inside[:, None] & (tl.arange(0, C_WIDTH) < C)[None, :]


@triton.jit
def load_channels(x, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """A vector x [C] in float32, [1, C_WIDTH]."""
    column = tl.arange(0, C_WIDTH)
    if C_WIDTH == C:
        return tl.load(x + column).to(tl.float32)[None, :]
    else:
        return tl.load(x + column, mask=column < C, other=0).to(tl.float32)[None, :]


@triton.jit
def load_channel_rows(at, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """Whole rows from pointers [rows, C_WIDTH]."""
    if C_WIDTH == C:
        return tl.load(at)
    else:
        return tl.load(at, mask=(tl.arange(0, C_WIDTH) < C)[None, :], other=0)


@triton.jit
def store_channels(at, values, C: tl.constexpr, C_WIDTH: tl.constexpr):
    """Write a vector [C_WIDTH] to the pointers of C channels."""
    if C_WIDTH == C:
        tl.store(at, values)
    else:
        tl.store(at, values, mask=tl.arange(0, C_WIDTH) < C)


# The first row of a program is addressed with 64 bits and offsets from it with 32, which take half the registers.
@triton.jit
def load_float(x, first, at, mask):
    """x at `first + at` in float32; zero where the mask does not hold."""
    return tl.load(x + first + at, mask=mask, other=0).to(tl.float32)


@triton.jit
def sigmoid(x, precision: tl.constexpr):
    """The sigmoid in float32. With "bf16" it takes 5 instructions in place of 13, with a relative error of 3e-7."""
    if precision == "bf16":
        root = tl.rsqrt(1 + tl.exp2(x * -1.4426950408889634))
        return root * root
    else:
        return tl.sigmoid(x)


@triton.jit
def dot(x, y, precision: tl.constexpr):
    """x @ y summed in float32; factors are rounded to bfloat16, to float16, or by Triton's input_precision."""
    if precision == "bf16":
        return tl.dot(x.to(tl.bfloat16), y.to(tl.bfloat16))
    elif precision == "fp16":
        return tl.dot(x.to(tl.float16), y.to(tl.float16))
    else:
        return tl.dot(x.to(tl.float32), y.to(tl.float32), input_precision=precision)
