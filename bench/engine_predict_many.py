"""Predicting a whole collection now on one core, beside one card at a time in plain PyTorch.

python -m bench.engine_predict_many [--reviews 8000] [--plain-cards 50] [--repeats 5]
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from bench.histories import gemm_peak, random_network, simulated_history
from bench.report import print_json, timed
from rwkv.model.inputs import draw_sequence
from rwkv.model.torch_runner import fastest_runner
from rwkv.native.library import is_built
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.person import Question

_TOLERANCE = 2e-5
_DAYS, _SECONDS = 3, 3 * 86_400
# Multiplications and additions of one row without the curve's heads.
_FLOP_PER_CARD = 2 * 2_484_000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=8000)
    parser.add_argument("--plain-cards", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, table = random_network(), simulated_history(options.reviews)
    engine = Engine(fastest_runner(network), draw_sequence(table.user))
    engine.feed(table)
    today = int(table.day_offset[-1]) + 1
    questions = [Question(card, today, _DAYS, _SECONDS) for card in engine.cards]
    sample = questions[: options.plain_cards]

    error = float(np.abs(engine.predict_many(sample).p_all - _one_by_one(engine, sample)).max())
    if error > _TOLERANCE:
        raise RuntimeError(f"predict_many differs from predict by {error}")
    ours = timed(lambda: engine.predict_many(questions), options.repeats)
    one = timed(lambda: _one_by_one(engine, sample), options.repeats)
    rows = torch.randn(1, network.spec.inputs)
    plain = timed(lambda: [network.step(rows, network.empty_states(1)) for _ in sample], options.repeats)
    peak, rate = gemm_peak(), len(questions) / ours["median_s"]
    figures = {
        "native": is_built(),
        "cards": len(questions),
        "largest_error": error,
        "cards_per_s": rate,
        "cards_per_s_range": [len(questions) / ours["max_s"], len(questions) / ours["min_s"]],
        "one_by_one_cards_per_s": len(sample) / one["median_s"],
        "plain_cards_per_s": len(sample) / plain["median_s"],
        "times_plain": rate / (len(sample) / plain["median_s"]),
        "gemm_gflops": peak / 1e9,
        "share_of_gemm_peak": rate * _FLOP_PER_CARD / peak,
    }
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    print_json("engine_predict_many", figures)


def _one_by_one(engine: Engine, questions: Sequence[Question]) -> np.ndarray:
    return np.array([engine.predict(question).p_all for question in questions])


if __name__ == "__main__":
    main()
