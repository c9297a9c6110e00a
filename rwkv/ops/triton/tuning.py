"""How each kernel is launched: its warps, pipeline stages and rounding, by measurement on an H100.

A product of two factors rounds them first: "bf16" to 8 bits, "tf32" to 11, "tf32x3" hardly (it splits them in two).
After bfloat16 inputs the states of the forward pass keep 11 bits, since they add up errors over a group; what is
read from them, which becomes bfloat16, and gradients keep 8.
"""
# mypy: allow-untyped-calls

from typing import Any

import torch

# Kernel: warps at K = 32, stages of the software pipeline, rounding.
BFLOAT16 = {
    "inverse": (1, 1, "tf32"),
    "map": (1, 3, "tf32"),
    "output": (1, 3, "tf32"),
    "adjoint": (1, 3, "bf16"),
    "gradient": (1, 2, "bf16"),
}
FLOAT32 = {
    "inverse": (1, 1, "tf32x3"),
    "map": (2, 1, "tf32x3"),
    "output": (2, 1, "tf32x3"),
    "adjoint": (1, 1, "tf32x3"),
    "gradient": (4, 1, "tf32x3"),
}


def options(name: str, width: int, dtype: torch.dtype) -> dict[str, Any]:
    """The constants and compiler options of a kernel over heads of `width` channels, for r of `dtype`."""
    warps, stages, precision = (BFLOAT16 if dtype == torch.bfloat16 else FLOAT32)[name]
    return {"K": width, "precision": precision, "num_warps": warps * max(1, width // 32), "num_stages": stages}


def by_dtype(dtype: torch.dtype, rough: dict[str, int], precise: dict[str, int]) -> dict[str, Any]:
    """The rounding of products for rows of a dtype, and the settings that go with it: rough ones for bfloat16."""
    if dtype == torch.bfloat16:
        return {"precision": "bf16", **rough}
    return {"precision": "tf32x3", **precise}


def launch(kernel: Any, programs: int, arguments: tuple[Any, ...], **settings: Any) -> None:
    """Run a Triton kernel with `programs` programs; none, and nothing is run. settings: its constants and options."""
    if programs:
        kernel[(programs,)](*arguments, **settings)
