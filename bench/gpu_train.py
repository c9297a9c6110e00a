"""One training step on a GPU, the three cases: reviews and rows a second, memory, loss beside the eager step.

python -m bench.gpu_train [--dtype bfloat16] [--repeats 20]
"""

import argparse
import statistics
import time
from itertools import cycle, islice

import torch

from bench.cases import CASES, Case, make_batch
from bench.report import print_json
from rwkv.batches.padding import pad_batch
from rwkv.device import TORCH_DTYPES
from rwkv.model.dropout import DropoutSource
from rwkv.model.network import new_network
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import make_optimizer, set_learning_rate
from rwkv.training.staging import staged
from rwkv.training.step import clipped_gradients, read_report

_FULL_ROWS = 66_000
_BATCHES = 4


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=sorted(TORCH_DTYPES), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    figures = {case.name: _measure(case, TORCH_DTYPES[options.dtype], options.repeats) for case in CASES}
    for name, found in figures.items():
        print(name, {key: round(value, 5) for key, value in found.items()})
    device = torch.cuda.get_device_name()
    print_json("gpu_train", {"device": device, "dtype": options.dtype, "repeats": options.repeats, **figures})


def _measure(case: Case, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    device = torch.device("cuda")
    batches = [make_batch(case, seed) for seed in range(_BATCHES)]
    padded = [pad_batch(batch, _FULL_ROWS).pin_memory() for batch in batches]
    network = new_network(1).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()))
    set_learning_rate(optimizer, 1e-4)
    source = DropoutSource(torch.tensor([5], device=device))
    eager = read_report(clipped_gradients(network, batches[0].to(device), dtype, "all", source))
    steps = RecordedSteps(network, optimizer, dtype, "all")
    seconds, losses = [], []
    begun = time.perf_counter()
    for batch in staged(islice(cycle(padded), _BATCHES + repeats), device):
        losses.append(steps.step(batch, 5).loss or float("nan"))
        seconds.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    first_s, seconds = seconds[0], seconds[_BATCHES:]
    median = statistics.median(seconds)
    return {
        "step_ms": 1e3 * median,
        "spread_ms": 1e3 * (max(seconds) - min(seconds)),
        "reviews_per_s": case.users * case.reviews / median,
        "rows_per_s": len(batches[0]) / median,
        "first_step_s": first_s,
        "reserved_gb": torch.cuda.memory_reserved() / 1e9,
        "loss_recorded": losses[0],
        "loss_eager": eager.loss or float("nan"),
    }


if __name__ == "__main__":
    main()
