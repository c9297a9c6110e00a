"""Functions of all kernels: launching, loading blocks, and products."""
# mypy: allow-untyped-defs, allow-untyped-calls

import math
from typing import Any

import triton
import triton.language as tl

# How many terms a product of matrices sums up at least, and how many columns it gives.
LEAST_PRODUCT = 16


def launch(kernel: Any, *programs: int, **arguments: Any) -> None:
    """Run a Triton kernel on a grid of programs, if any; its constants and compiler options are arguments too."""
    if math.prod(programs):
        kernel[programs](**arguments)


# The first row of a program is addressed with 64 bits and offsets from it with 32, which take half the registers.
@triton.jit
def load_float(x, first, at, mask):
    """x at `first + at` in float32; zero where the mask does not hold."""
    return tl.load(x + first + at, mask=mask, other=0).to(tl.float32)


@triton.jit
def dot(x, y, precision: tl.constexpr):
    """x @ y summed in float32; factors are rounded to bfloat16 or by Triton's input_precision of that name."""
    if precision == "bf16":
        return tl.dot(x.to(tl.bfloat16), y.to(tl.bfloat16))
    else:
        return tl.dot(x, y, input_precision=precision)
