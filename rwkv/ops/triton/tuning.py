"""The constants of each kernel by GPU: rows and columns of a block, warps, pipeline stages and registers.

To tune for another GPU or after changing a kernel, change one row of the table and measure the old and the new version
on an idle GPU. Use `python -m bench.gpu_eval` for "encode", "recall" and "ratings", `python -m bench.gpu_train` for all
other rows, and `python -m bench.gpu_wkv` for the recurrence alone. Keep a change that is faster in the cases of both
dtypes, and run `pytest tests/ops tests/model tests/training` on that GPU. A kernel that spills registers (`n_spills` of
the launched kernel) needs smaller blocks or more warps; `maxnreg` limits the registers so that more programs run at
once. A new kind of GPU gets its own table in BY_GPU.

A product rounds its factors first: "bf16" to 8 bits, "fp16" and "tf32" to 11, and "tf32x3" to almost float32 by
splitting them. With bfloat16 inputs, the states of the forward pass keep 11 bits, since their errors add up over a
group. They can grow beyond the 65,504 of "fp16", since learning rates differ by channel. The outputs, which become
bfloat16, and the gradients keep 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

# --- Constants of plans. Plans are made on the CPU, so these are the same for all GPUs.

# Rows of a chunk.
CHUNK_LENGTH = 16
# Each run costs a step of the scan, so long groups get long runs. With four heads, this many runs fill a large GPU.
RUNS = 512
RUNS_OF_A_GROUP = 256
# Chunks of a group that is not cut if the others fill the GPU.
SHORT_GROUP = 8
# Up to this many runs are scanned one after another; more, and those of padded plans, are scanned in two levels.
LONGEST_SCAN = 24

# --- How kernels are launched.

# How many terms a product of matrices sums up at least, and how many rows and columns it gives.
LEAST_PRODUCT = 16
# Channels of a block for which the tables were measured.
TUNED_WIDTH = 128

# Constants and compiler options by name: ROWS, columns, num_warps, num_stages, maxnreg.
Sizes = Mapping[str, int]
# Warps at K = 32, stages of the software pipeline, rounding, and the most registers at K = 32.
WkvOptions = tuple[int, int, str, int]


@dataclass(frozen=True)
class Tuning:
    """The constants of all kernels on a kind of GPU, by kernel.

    Attributes:
        products: Kernels with products: for bfloat16 rows, which round to "bf16", and for float32 rows, "tf32x3".
        others: Kernels without products, or entirely in float32.
        wkv: Kernels of the recurrence, for bfloat16 and for float32.
    """

    products: Mapping[str, tuple[Sizes, Sizes]]
    others: Mapping[str, Sizes]
    wkv: Mapping[str, tuple[WkvOptions, WkvOptions]]


# Measured on an H100 or an H200; "recall" and the channel mixer's are chosen by kernels of the same shape. The limit of
# registers lets two programs of "encode" share a core.
HOPPER = Tuning(
    products={
        "channel_mix": (
            {"ROWS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2, "maxnreg": 128},
            {"ROWS": 32, "INNER": 32, "num_warps": 4, "num_stages": 2},
        ),
        "channel_mix_backward": (
            {"ROWS": 64, "INNER": 64, "num_warps": 4, "num_stages": 2},
            {"ROWS": 32, "INNER": 32, "num_warps": 4, "num_stages": 2},
        ),
        "time_inputs": (
            {"ROWS": 128, "num_warps": 8, "num_stages": 1, "maxnreg": 128},
            {"ROWS": 16, "num_warps": 4, "num_stages": 1},
        ),
        "time_inputs_backward": (
            {"ROWS": 32, "num_warps": 4, "maxnreg": 96},
            {"ROWS": 16, "num_warps": 4},
        ),
        "maps_backward": (
            {"ROWS": 64, "PROGRAMS": 528, "num_warps": 4, "num_stages": 2, "maxnreg": 128},
            {"ROWS": 16, "PROGRAMS": 264, "num_warps": 8, "num_stages": 1},
        ),
        "encode": (
            {"ROWS": 128, "HIDDEN": 32, "num_warps": 8, "num_stages": 2, "maxnreg": 128},
            {"ROWS": 32, "HIDDEN": 32, "num_warps": 4, "num_stages": 2},
        ),
        "recall": (
            {"ROWS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2},
            {"ROWS": 64, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
        "ratings": (
            {"ROWS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2},
            {"ROWS": 64, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
        "output_map": (
            {"ROWS": 64, "INNER": 128, "num_warps": 4, "num_stages": 1},
            {"ROWS": 32, "INNER": 32, "num_warps": 4, "num_stages": 1},
        ),
        "head_maps": (
            {"ROWS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2},
            {"ROWS": 32, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
        "head_maps_backward": (
            {"ROWS": 64, "INNER": 64, "num_warps": 4, "num_stages": 2},
            {"ROWS": 32, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
    },
    others={
        "shift": {"ROWS": 16, "num_warps": 8},
        "shift_backward": {"ROWS": 16, "PROGRAMS": 396, "num_warps": 4},
        "wkv_output_backward": {"ROWS": 32, "PROGRAMS": 396, "num_warps": 4},
        "scan": {"COLUMNS": 16, "num_warps": 2, "num_stages": 3},
        "sum_blocks": {"BLOCKS": 512, "COLUMNS": 8, "num_warps": 8},
        "dropout": {"BLOCK": 1024},
        "column_sums": {"ROWS": 32, "COLUMNS": 128, "STEPS": 8, "num_warps": 4},
        "activated_norm": {"ELEMENTS": 1024, "STEPS": 8, "num_warps": 2},
        "channel_rows": {"ROWS": 16, "num_warps": 8},
        "curve_rows": {"ROWS": 8, "num_warps": 2},
        "interpolated_maps": {"ROWS": 64, "num_warps": 8},
        "inputs": {"ROWS": 16, "num_warps": 4},
        "take_rows": {"ROWS": 64, "num_warps": 4},
    },
    wkv={
        "parts": ((1, 1, "tf32", 168), (1, 1, "tf32x3", 255)),
        "map": ((2, 2, "tf32", 128), (2, 1, "tf32x3", 255)),
        "output": ((1, 2, "tf32", 255), (2, 1, "tf32x3", 255)),
        "adjoint": ((1, 2, "bf16", 255), (1, 1, "tf32x3", 255)),
        "gradient": ((1, 2, "bf16", 255), (4, 1, "tf32x3", 255)),
    },
)

# The table of a GPU by a part of its name; other GPUs use HOPPER.
BY_GPU = {"H100": HOPPER, "H200": HOPPER}


@cache
def tuning() -> Tuning:
    """The table of the GPU of this process."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((table for part, table in BY_GPU.items() if part in name), HOPPER)


def product_sizes(kernel: str, dtype: torch.dtype, width: int = TUNED_WIDTH) -> dict[str, Any]:
    """The constants and compiler options of a kernel with products for rows of a dtype, with its rounding.

    Blocks of more than TUNED_WIDTH channels, `width`, have fewer rows and inner columns, so that they fit on a GPU.
    """
    rough, precise = tuning().products[kernel]
    precision, sizes = ("bf16", rough) if dtype == torch.bfloat16 else ("tf32x3", precise)
    times = width // TUNED_WIDTH
    if times > 1:
        shrinking = {name: size for name, size in sizes.items() if name in ("ROWS", "INNER", "HIDDEN")}
        sizes = {**sizes, **{name: max(LEAST_PRODUCT, size // times) for name, size in shrinking.items()}}
    return {"precision": precision, **sizes}


def persistent(sizes: Sizes, rows: int, heads: int = 1) -> tuple[int, dict[str, Any]]:
    """The programs of each head in a kernel whose programs take several blocks of rows, and the other constants.

    PROGRAMS is how many of them a GPU runs at once. The order of sums depends on it, but not on the time.
    """
    blocks = -(-rows // sizes["ROWS"])
    others = {name: size for name, size in sizes.items() if name != "PROGRAMS"}
    return min(blocks, max(1, sizes["PROGRAMS"] // heads)), others


def other_sizes(kernel: str) -> Sizes:
    """The constants and compiler options of another kernel."""
    return tuning().others[kernel]


def wkv_options(kernel: str, width: int, dtype: torch.dtype) -> dict[str, Any]:
    """The constants and compiler options of a kernel of the recurrence over heads of `width` channels, r of `dtype`."""
    rough, precise = tuning().wkv[kernel]
    warps, stages, precision, registers = rough if dtype == torch.bfloat16 else precise
    return {
        "K": width,
        "precision": precision,
        "num_warps": warps * max(1, width // 32),
        "num_stages": stages,
        "maxnreg": registers if width <= 32 else 255,
    }
