"""One training step on a GPU in three cases: checks against plain PyTorch, then rates, memory and launches.

python -m bench.gpu_train [--dtype bfloat16] [--repeats 20] [--optimizer adamw]
"""

import argparse
import statistics
import time
from itertools import cycle, islice

import torch
from torch import Tensor

from bench.cases import CASES, Case, make_batch
from bench.gpu import launches, need_gpu
from bench.histories import random_network
from bench.limits import within
from bench.report import print_json, timed
from rwkv.batches.collate import Batch
from rwkv.batches.padding import pad_batch
from rwkv.device import TORCH_DTYPES
from rwkv.model.dropout import DropoutMasks
from rwkv.ops.backend import plain_ops
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import OPTIMIZERS, make_optimizer, set_learning_rate
from rwkv.training.staging import staged
from rwkv.training.step import StepReport, reports, train_step

_GPU = torch.device("cuda")
_FULL_ROWS, _BATCHES, _SEED, _PLAIN_REPEATS = 66_000, 4, 5, 3

# Relative limits by dtype: the recorded step's loss against the eager one's, and that against the plain form's.
_RECORDED = {torch.bfloat16: 1e-3, torch.float32: 1e-5}
_LOSS = {torch.bfloat16: 1e-2, torch.float32: 1e-5}
# Limit of the gradients' distance from the plain form in float32: a multiple of the plain form's own, plus a constant.
_SHARE, _MORE = 1.5, {torch.bfloat16: 0.02, torch.float32: 1e-4}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=sorted(TORCH_DTYPES), default="bfloat16")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adamw")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    need_gpu()
    dtype = TORCH_DTYPES[options.dtype]
    figures = {case.name: _measure(case, dtype, options) for case in CASES}
    for name, case_figures in figures.items():
        print(name, {key: round(value, 5) for key, value in case_figures.items()})
    of_all = {"device": torch.cuda.get_device_name(), "dtype": options.dtype, "repeats": options.repeats}
    of_all["optimizer"] = options.optimizer
    print_json("gpu_train", {**of_all, "launches_of_one": _launches(CASES[0], dtype, options.optimizer), **figures})


class _Training:
    """A network in training, with fixed initial weights and fixed dropout."""

    def __init__(self, optimizer: str) -> None:
        self.network = random_network().to(_GPU).requires_grad_()
        self.optimizer = make_optimizer(dict(self.network.named_parameters()), optimizer)
        set_learning_rate(self.optimizer, 1e-4)

    def step(self, batch: Batch, dtype: torch.dtype) -> StepReport:
        """Take an eager step."""
        masks = DropoutMasks(torch.tensor([_SEED], device=_GPU))
        return train_step(self.network, self.optimizer, batch, dtype, "all", masks)

    def first(self, batch: Batch, dtype: torch.dtype) -> tuple[float, Tensor]:
        """The loss and the clipped gradients of the first step."""
        loss = self.step(batch, dtype).loss
        gradients = [p.grad.flatten() for p in self.network.parameters() if p.grad is not None]
        return float("nan") if loss is None else loss, torch.cat(gradients)


def _measure(case: Case, dtype: torch.dtype, options: argparse.Namespace) -> dict[str, float]:
    batches = [make_batch(case, seed) for seed in range(_BATCHES)]
    plain_ms, error, eager = _checked(case, batches[0].to(_GPU), dtype, options.optimizer)
    torch.cuda.empty_cache()
    padded = [pad_batch(batch, _FULL_ROWS).pin_memory() for batch in batches]
    training = _Training(options.optimizer)
    steps = RecordedSteps(training.network, training.optimizer, dtype, "all")
    staged_batches = staged(islice(cycle(padded), _BATCHES + options.repeats), _GPU)
    seconds, begun = [], time.perf_counter()
    for n, report in reports(
        ((n, steps.launch(batch, _SEED)) for n, batch in enumerate(staged_batches)), lambda n: n == 0
    ):
        seconds.append(time.perf_counter() - begun)
        if n == 0:
            apart = abs((report.loss or float("nan")) / eager - 1)
            within(
                f"{case.name}: the difference of the recorded step's loss from the eager one's", apart, _RECORDED[dtype]
            )
        begun = time.perf_counter()
    first_s, seconds = seconds[0], seconds[_BATCHES:]
    median = statistics.median(seconds)
    return {
        "step_ms": 1e3 * median,
        "spread_ms": 1e3 * (max(seconds) - min(seconds)),
        "reviews_per_s": case.users * case.reviews / median,
        "rows_per_s": len(batches[0]) / median,
        "plain_step_ms": plain_ms,
        "times_plain": plain_ms / (1e3 * median),
        "first_step_s": first_s,
        "reserved_gb": torch.cuda.memory_reserved() / 1e9,
        "gradient_error": error,
    }


def _checked(case: Case, batch: Batch, dtype: torch.dtype, optimizer: str) -> tuple[float, float, float]:
    """Check the kernels against the plain form: milliseconds of a plain step, error of the gradients, and the loss."""
    with plain_ops():
        exact_loss, exact = _Training(optimizer).first(batch, torch.float32)
        plain = _Training(optimizer)
        _, rough = plain.first(batch, dtype)
        plain_s = timed(lambda: plain.step(batch, dtype), _PLAIN_REPEATS)["median_s"]
    loss, ours = _Training(optimizer).first(batch, dtype)
    error, plain_error = (float((gradients - exact).norm() / exact.norm()) for gradients in (ours, rough))
    within(f"{case.name}: the difference of the loss from the plain form's", abs(loss / exact_loss - 1), _LOSS[dtype])
    within(f"{case.name}: the gradients' distance from the plain form's", error, _SHARE * plain_error + _MORE[dtype])
    return 1e3 * plain_s, error, loss


def _launches(case: Case, dtype: torch.dtype, optimizer: str) -> int:
    """The launches of an eager step. Measured last, since the profiler interferes with recorded graphs."""
    training, batch = _Training(optimizer), pad_batch(make_batch(case, 0), _FULL_ROWS).to(_GPU).batch
    training.step(batch, dtype)
    return launches(lambda: training.step(batch, dtype))


if __name__ == "__main__":
    main()
