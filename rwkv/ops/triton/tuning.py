"""How each kernel is cut up and compiled: rows and columns of a block, warps, pipeline stages and registers, by GPU.

To measure anew, on another GPU or after a change of a kernel: change one row of the table, and run old beside new on
an idle GPU, `python -m bench.gpu_train` for all rows but "encode", "recall" and "ratings", for which it is
`python -m bench.gpu_eval`, and `python -m bench.gpu_wkv` for the recurrence alone. Keep what is faster in both dtypes'
cases, and run `pytest tests/ops tests/model tests/training` there. A kernel that spills registers, `kernel.n_spills` of
what a launch returns, wants smaller blocks or more warps; `maxnreg` trades registers for programs that fit side by
side. A new kind of GPU gets a table of its own in BY_GPU.

A product of two factors rounds them first: "bf16" to 8 bits, "tf32" to 11, "tf32x3" hardly (it splits them in two).
After bfloat16 inputs the states of the forward pass keep 11 bits, since they add up errors over a group; what is
read from them, which becomes bfloat16, and gradients keep 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

# --- How rows are planned. Plans are made where there is no GPU, so these are the same for all of them.

# Rows of a chunk.
CHUNK_LENGTH = 16
# A run costs a step of the scan, so a long group gets long runs; but with four heads, this many fill a large GPU.
RUNS = 512
RUNS_OF_A_GROUP = 256
# Up to this many runs are scanned one after another; more are scanned in two levels.
LONGEST_SCAN = 24

# --- How kernels are launched.

# Constants and compiler options by name: ROWS, columns, num_warps, num_stages, maxnreg.
Sizes = Mapping[str, int]
# Warps at K = 32, stages of the software pipeline, rounding.
WkvOptions = tuple[int, int, str]


@dataclass(frozen=True)
class Tuning:
    """The constants of all kernels on a kind of GPU, by kernel.

    products: for bfloat16 rows, whose products round to "bf16", and for float32, "tf32x3". others: without products, or
    in float32 throughout. wkv: those of the recurrence, for bfloat16 and for float32.
    """

    products: Mapping[str, tuple[Sizes, Sizes]]
    others: Mapping[str, Sizes]
    wkv: Mapping[str, tuple[WkvOptions, WkvOptions]]


# By measurement on an H100, "wkv_output_backward" on an H200; the heads by registers and traffic of weights, not by
# time. With so few registers two programs of "encode" share a core.
HOPPER = Tuning(
    products={
        "channel_mix": (
            {"ROWS": 64, "INNER": 64, "num_warps": 8, "num_stages": 2, "maxnreg": 128},
            {"ROWS": 32, "INNER": 32, "num_warps": 4, "num_stages": 2},
        ),
        "time_inputs": (
            {"ROWS": 64, "num_warps": 4, "num_stages": 1, "maxnreg": 128},
            {"ROWS": 16, "num_warps": 4, "num_stages": 1},
        ),
        "time_inputs_backward": (
            {"ROWS": 16, "num_warps": 2, "maxnreg": 96},
            {"ROWS": 16, "num_warps": 2},
        ),
        "encode": (
            {"ROWS": 128, "HIDDEN": 64, "num_warps": 8, "num_stages": 2, "maxnreg": 128},
            {"ROWS": 32, "HIDDEN": 32, "num_warps": 4, "num_stages": 2},
        ),
        "recall": (
            {"ROWS": 128, "INNER": 32, "num_warps": 8, "num_stages": 2},
            {"ROWS": 64, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
        "ratings": (
            {"ROWS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2},
            {"ROWS": 64, "INNER": 16, "num_warps": 4, "num_stages": 2},
        ),
    },
    others={
        "shift": {"ROWS": 16, "num_warps": 8},
        "shift_backward": {"ROWS": 32, "num_warps": 4},
        "hidden_backward": {"ROWS": 64, "num_warps": 4},
        "wkv_output_backward": {"ROWS": 32, "num_warps": 4},
        "scan": {"COLUMNS": 16, "num_warps": 2, "num_stages": 3},
        "sum_blocks": {"BLOCKS": 1024, "COLUMNS": 8, "num_warps": 8},
        "dropout": {"BLOCK": 1024},
    },
    wkv={
        "inverse": ((1, 1, "tf32"), (1, 1, "tf32x3")),
        "map": ((1, 3, "tf32"), (2, 1, "tf32x3")),
        "output": ((1, 3, "tf32"), (2, 1, "tf32x3")),
        "adjoint": ((1, 3, "bf16"), (1, 1, "tf32x3")),
        "gradient": ((1, 2, "bf16"), (4, 1, "tf32x3")),
    },
)

# A part of a GPU's name -> its table. Others take HOPPER.
BY_GPU = {"H100": HOPPER, "H200": HOPPER}


@cache
def tuning() -> Tuning:
    """The table of the GPU of this process."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((table for part, table in BY_GPU.items() if part in name), HOPPER)


def product_sizes(kernel: str, dtype: torch.dtype) -> dict[str, Any]:
    """The constants and compiler options of a kernel with products, for rows of a dtype, and how these round."""
    rough, precise = tuning().products[kernel]
    if dtype == torch.bfloat16:
        return {"precision": "bf16", **rough}
    return {"precision": "tf32x3", **precise}


def other_sizes(kernel: str) -> Sizes:
    """The constants and compiler options of another kernel."""
    return tuning().others[kernel]


def wkv_options(kernel: str, width: int, dtype: torch.dtype) -> dict[str, Any]:
    """The constants and compiler options of a kernel of the recurrence over heads of `width` channels, r of `dtype`."""
    rough, precise = tuning().wkv[kernel]
    warps, stages, precision = rough if dtype == torch.bfloat16 else precise
    return {"K": width, "precision": precision, "num_warps": warps * max(1, width // 32), "num_stages": stages}
