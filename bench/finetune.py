"""Fine-tuning the package's weights on one simulated learner, in wall-clock and processor time.

python -m bench.finetune [--reviews 20000] [--threads 2]
"""

import argparse
import tempfile
from pathlib import Path

import torch

from bench.report import clocked, print_json
from rwkv.benchmark.simulate import simulate
from rwkv.collection.finetune import FineTuned, finetune
from rwkv.data.revlogs import read_history

_SEED = 1234


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(1, options.reviews, _SEED, folder / "learner", spread=0)
        reviews = len(read_history(folder / "learner", 1))
        results: list[FineTuned] = []
        wall_s, cpu_s = clocked(lambda: results.append(finetune(folder / "learner", folder / "mine.safetensors")))
    adapted = results[0].adapted
    if any(adapted.after[name] >= adapted.before[name] for name in adapted.better):
        raise RuntimeError("weights that are worse on the held-out reviews count as better")
    figures = {
        "threads": options.threads,
        "reviews": reviews,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "steps": adapted.steps,
        "before": adapted.before,
        "after": adapted.after,
    }
    for name, value in figures.items():
        print(f"{name:<12} {value}")
    print_json("finetune", figures)


if __name__ == "__main__":
    main()
