"""Inputs of the CPU benchmarks: a simulated learner's history and a network with random weights."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bench.cases import Case
from bench.report import timed
from rwkv.benchmark.simulate import simulate
from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.model.network import Network, new_network

_SEED = 1234
_WEIGHT_SCALE = 0.05


def simulated_history(reviews: int) -> RevlogTable:
    """Simulate a learner's history of about `reviews` reviews."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(1, reviews, _SEED, Path(folder))
        return read_history(Path(folder), 1)


def random_network() -> Network:
    """The published network with random weights, since many of the initial ones are zero."""
    network = new_network(_SEED).requires_grad_(False).eval()
    rng = torch.Generator().manual_seed(_SEED)
    for name, weight in network.named_parameters():
        if weight.dim() == 2 and "lerp" not in name:
            weight.copy_(_WEIGHT_SCALE * torch.randn(weight.shape, generator=rng))
    return network


# Multiplications and additions of one row in the forward pass; training does three times as many.
FLOP_PER_ROW = 2 * 2_762_884


def gemm_peak(rows: int = 1024, width: int = 512, repeats: int = 7) -> float:
    """The present speed of the machine's float32 matrix product in FLOP/s."""
    a, b = torch.randn(rows, width), torch.randn(width, width)
    torch.mm(a, b)
    return 2 * rows * width * width / timed(lambda: torch.mm(a, b), repeats)["min_s"]


def measured_rates(
    case: Case, rows: int, run: Callable[[], object], repeats: int, flop_per_row: int
) -> dict[str, float]:
    """Measure `run` over a batch of a case: rows and reviews per second, beside the matrix product's speed."""
    peak = gemm_peak()
    time = timed(run, repeats)
    peak = max(peak, gemm_peak())
    rate = rows / time["median_s"]
    return {
        "rows": rows,
        "rows_per_s": rate,
        "rows_per_s_least": rows / time["max_s"],
        "rows_per_s_most": rows / time["min_s"],
        "reviews_per_s": case.users * case.reviews / time["median_s"],
        "gemm_gflops": peak / 1e9,
        "share_of_gemm_peak": rate * flop_per_row / peak,
    }
