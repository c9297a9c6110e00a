"""A training step on the CPU: forward, loss, backward, clipping and update, beside the same in plain PyTorch.

python -m bench.cpu_train [--threads 2] [--repeats 5] [--optimizer adamw]
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from bench.cases import CPU_CASES, PLAIN_CASE, Case, make_batch
from bench.histories import FLOP_PER_ROW, measured_rates, random_network
from bench.plain_network import plain_network
from bench.report import print_json, timed
from rwkv.batches.collate import Batch
from rwkv.model.dropout import DropoutMasks
from rwkv.native.library import is_built
from rwkv.training.optimizer import OPTIMIZERS, make_optimizer, set_learning_rate
from rwkv.training.step import StepReport, train_step

# Relative distance of all gradients together, in float32: recurrence and sums over rows in another order.
_TOLERANCE = 1e-4
_WARM_UP = Case("warm_up", 1, 40, 8, 6, 2, 1)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adamw")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    error, plain_rate = _plain(options.repeats, options.optimizer)
    figures: dict[str, object] = {"native": is_built(), "threads": options.threads, "largest_error": error}
    figures["optimizer"] = options.optimizer
    figures["plain_rows_per_s"] = plain_rate
    for case in CPU_CASES:
        rates = _measure(case, options) | {"peak_kib_per_row": _memory(case, options)}
        figures[case.name] = rates | {"times_plain": rates["rows_per_s"] / plain_rate}
    for name, value in figures.items():
        print(f"{name:<20} {value}")
    print_json("cpu_train", figures)


class _Training:
    """A network in training, with fixed initial weights and fixed dropout."""

    def __init__(self, optimizer: str) -> None:
        self.network = random_network().requires_grad_()
        self.optimizer = make_optimizer(dict(self.network.named_parameters()), optimizer)
        set_learning_rate(self.optimizer, 1e-4)

    def step(self, batch: Batch) -> StepReport:
        masks = DropoutMasks(torch.tensor([5]))
        return train_step(self.network, self.optimizer, batch, torch.float32, "all", masks)


def _plain(repeats: int, optimizer: str) -> tuple[float, float]:
    """The relative distance of the first step's gradients from the plain form's, and that form's rows per second."""
    batch, ours, theirs = make_batch(PLAIN_CASE, 1), _Training(optimizer), _Training(optimizer)
    ours.step(batch)
    with plain_network():
        theirs.step(batch)
        expected = _gradient(theirs)
        seconds = timed(lambda: theirs.step(batch), repeats)["median_s"]
    error = float((_gradient(ours) - expected).norm() / expected.norm())
    if not error <= _TOLERANCE:
        raise RuntimeError(f"the gradients differ from the plain form's by {error}")
    return error, len(batch) / seconds


def _gradient(training: _Training) -> Tensor:
    return torch.cat([p.grad.flatten() for p in training.network.parameters() if p.grad is not None])


def _measure(case: Case, options: argparse.Namespace) -> dict[str, float]:
    batch, training = make_batch(case, 1), _Training(options.optimizer)
    training.step(batch)
    return measured_rates(case, len(batch), lambda: training.step(batch), options.repeats, 3 * FLOP_PER_ROW)


def _memory(case: Case, options: argparse.Namespace) -> float:
    """The memory of a step in KiB per row: its peak minus the memory before, in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_peak_kib, case, options).result()


def _peak_kib(case: Case, options: argparse.Namespace) -> float:
    torch.set_num_threads(options.threads)
    batch, training = make_batch(case, 1), _Training(options.optimizer)
    training.step(make_batch(_WARM_UP, 1))
    before = _highest_kib()
    training.step(batch)
    return (_highest_kib() - before) / len(batch)


def _highest_kib() -> int:
    """The highest memory of this process so far, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
