"""The engine one review at a time with both predictions, on one core, beside the same in plain PyTorch.

Both run in turns, so that other load on the machine affects both. Rates are medians; times_plain is the median of the
ratio in each turn.

python -m bench.engine_step [--reviews 1500] [--plain-reviews 100] [--repeats 5]
"""

import argparse
import itertools
import os

import numpy as np
import torch

from bench.histories import gemm_peak, random_network, simulated_history
from bench.plain_engine import PlainEngine
from bench.report import clocked, print_json
from rwkv.data.history import RevlogTable
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.model.torch_runner import fastest_runner
from rwkv.native.library import is_built
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import Review, reviews_of

_TOLERANCE = 2e-5


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=1500)
    parser.add_argument("--plain-reviews", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, table = random_network(), simulated_history(options.reviews)
    reviews = list(reviews_of(table))[: options.reviews]
    figures: dict[str, object] = {
        "native": is_built(),
        "reviews": len(reviews),
        "largest_error": _error(network, reviews, options.plain_reviews),
    }
    count, plain_count = len(reviews), options.plain_reviews
    load = os.getloadavg()[0]
    turns = np.array(
        [
            (*clocked(lambda: _plain(network, reviews[:plain_count])), *clocked(lambda: _ours(network, table, reviews)))
            for _ in range(options.repeats)
        ]
    )
    plain, plain_cpu, ours, ours_cpu = (np.array([plain_count, plain_count, count, count]) / turns).T
    figures |= {
        "reviews_per_s": float(np.median(ours)),
        "reviews_per_s_range": [float(ours.min()), float(ours.max())],
        "reviews_per_cpu_s": float(np.median(ours_cpu)),
        "plain_reviews_per_s": float(np.median(plain)),
        "plain_reviews_per_cpu_s": float(np.median(plain_cpu)),
        "times_plain": float(np.median(ours / plain)),
        "times_plain_range": [float((ours / plain).min()), float((ours / plain).max())],
        "times_plain_cpu": float(np.median(ours_cpu / plain_cpu)),
        "gemm_gflops": gemm_peak() / 1e9,
        "load_before_and_after": [load, os.getloadavg()[0]],
    }
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    print_json("engine_step", figures)


def _error(network: Network, reviews: list[Review], count: int) -> float:
    """The largest difference in probability from the plain form.

    Raises:
        RuntimeError: The difference exceeds 2e-5.
    """
    draw = draw_sequence(1)
    ours, plain = Engine(fastest_runner(network), draw), PlainEngine(network, draw)
    largest = 0.0
    for review in itertools.islice(reviews, count):
        for a, b in zip(vars(ours.answer(review)).values(), vars(plain.answer(review)).values(), strict=True):
            if a is not None:
                largest = max(largest, float(np.abs(a - b).max()))
    if largest > _TOLERANCE:
        raise RuntimeError(f"the engine differs from the plain form by {largest}")
    return largest


def _ours(network: Network, table: RevlogTable, reviews: list[Review]) -> None:
    engine = Engine(fastest_runner(network), draw_sequence(table.user))
    for review in reviews:
        engine.answer(review)


def _plain(network: Network, reviews: list[Review]) -> None:
    engine = PlainEngine(network, draw_sequence(1))
    for review in reviews:
        engine.answer(review)


if __name__ == "__main__":
    main()
