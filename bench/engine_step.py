"""The engine one review at a time with both predictions, on one core, beside the same in plain PyTorch.

python -m bench.engine_step [--reviews 1500] [--plain-reviews 100] [--repeats 5]
"""

import argparse
import itertools

import numpy as np
import torch

from bench.histories import gemm_peak, random_network, simulated_history
from bench.plain_engine import PlainEngine
from bench.report import print_json, timed
from rwkv.data.history import RevlogTable
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.ops.native import is_built
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
    plain = timed(lambda: _plain(network, reviews[: options.plain_reviews]), options.repeats)
    ours = timed(lambda: _ours(network, table, reviews), options.repeats)
    rate, plain_rate = len(reviews) / ours["median_s"], options.plain_reviews / plain["median_s"]
    figures |= {
        "reviews_per_s": rate,
        "reviews_per_s_range": [len(reviews) / ours["max_s"], len(reviews) / ours["min_s"]],
        "plain_reviews_per_s": plain_rate,
        "times_plain": rate / plain_rate,
        "gemm_gflops": gemm_peak() / 1e9,
    }
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    print_json("engine_step", figures)


def _error(network: Network, reviews: list[Review], count: int) -> float:
    """Largest difference in probability from the plain form; raises where it is above 2e-5."""
    draw = draw_sequence(1)
    ours, plain = Engine(network, draw), PlainEngine(network, draw)
    worst = 0.0
    for review in itertools.islice(reviews, count):
        for a, b in zip(vars(ours.answer(review)).values(), vars(plain.answer(review)).values(), strict=True):
            if a is not None:
                worst = max(worst, float(np.abs(a - b).max()))
    if worst > _TOLERANCE:
        raise RuntimeError(f"the engine differs from the plain form by {worst}")
    return worst


def _ours(network: Network, table: RevlogTable, reviews: list[Review]) -> None:
    engine = Engine(network, draw_sequence(table.user))
    for review in reviews:
        engine.answer(review)


def _plain(network: Network, reviews: list[Review]) -> None:
    engine = PlainEngine(network, draw_sequence(1))
    for review in reviews:
        engine.answer(review)


if __name__ == "__main__":
    main()
