"""Feeding a whole history in bulk with both predictions, beside one review at a time in plain PyTorch.

python -m bench.engine_bulk [--reviews 10000] [--plain-reviews 100] [--threads 2] [--repeats 5]
"""

import argparse

import numpy as np
import torch

from bench.histories import FLOP_PER_ROW, gemm_peak, random_network, simulated_history
from bench.plain_engine import PlainEngine
from bench.report import print_json, timed
from rwkv.model.inputs import draw_sequence
from rwkv.model.torch_runner import fastest_runner
from rwkv.native.library import is_built
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of

_TOLERANCE = 2e-5


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=10_000)
    parser.add_argument("--plain-reviews", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, table = random_network(), simulated_history(options.reviews)
    draw = draw_sequence(table.user)
    first = list(reviews_of(table))[: options.plain_reviews]

    predictions, plain_engine = Engine(fastest_runner(network), draw).feed(table), PlainEngine(network, draw)
    plain_predictions = [plain_engine.answer(review) for review in first]
    errors = []
    for name in ("p_ahead", "p_imm"):
        expected = np.array([getattr(prediction, name) for prediction in plain_predictions], float)
        errors.append(float(np.nanmax(np.abs(getattr(predictions, name)[: len(first)] - expected))))
    error = max(errors)
    if error > _TOLERANCE:
        raise RuntimeError(f"the engine differs from the plain form by {error}")

    def walk_plainly() -> None:
        engine = PlainEngine(network, draw)
        for review in first:
            engine.answer(review)

    plain = timed(walk_plainly, options.repeats)
    ours = timed(lambda: Engine(fastest_runner(network), draw).feed(table), options.repeats)
    peak, rows = gemm_peak(), len(table) + int(np.count_nonzero(table.elapsed_days != -1))
    rate, plain_rate = len(table) / ours["median_s"], len(first) / plain["median_s"]
    figures = {
        "native": is_built(),
        "threads": options.threads,
        "reviews": len(table),
        "rows": rows,
        "largest_error": error,
        "reviews_per_s": rate,
        "reviews_per_s_range": [len(table) / ours["max_s"], len(table) / ours["min_s"]],
        "rows_per_s": rows / ours["median_s"],
        "plain_reviews_per_s": plain_rate,
        "times_plain": rate / plain_rate,
        "gemm_gflops": peak / 1e9,
        "share_of_gemm_peak": rows * FLOP_PER_ROW / ours["median_s"] / peak,
    }
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    print_json("engine_bulk", figures)


if __name__ == "__main__":
    main()
