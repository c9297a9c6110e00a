"""Evaluation on a GPU of three cases and one long user: reviews per second, memory, launches, and error.

python -m bench.gpu_eval [--dtype bfloat16] [--repeats 10] [--longest 1000000]
"""

import argparse
import statistics
import time
from dataclasses import replace
from typing import NamedTuple

import torch

from bench.cases import CASES, Case, make_batch
from bench.gpu import launches, need_gpu
from bench.limits import within
from bench.report import print_json
from rwkv.batches.sliced import SlicedBatch
from rwkv.device import TORCH_DTYPES
from rwkv.evaluation.history_predictions import read_predictions, sliced_for
from rwkv.evaluation.recorded import FREQUENT, RecordedRows
from rwkv.model.network import Network, frozen_network, new_network

_TOGETHER = 4
# Batches of a size until its recording is replayed.
_UNTIL_RECORDED = FREQUENT + 2
_SMALL = Case("small", 3, 400, 60, 45, 4, 2)
# In probability: 8 bits through 16 layers, and sums in another order.
_LARGEST_ERROR = {torch.bfloat16: 0.03, torch.float32: 1e-4}


class _Asked(NamedTuple):
    """A batch, its number of rows, review rows [n] with seconds after them, and query rows [m]."""

    batch: SlicedBatch
    after: torch.Tensor
    elapsed_s: torch.Tensor
    queries: torch.Tensor
    rows: int


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=sorted(TORCH_DTYPES), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--longest", type=int, default=1_000_000, help="reviews of the long user")
    options = parser.parse_args()
    need_gpu()
    dtype = TORCH_DTYPES[options.dtype]
    longest = Case("longest", 1, options.longest, options.longest // 10, options.longest // 13, 40, 4)
    error = _checked_error(dtype)
    # Users together up to one slice, as in get_result, and one batch of the size of a training step.
    together = [replace(case, name=f"{case.name} x {_TOGETHER}", users=_TOGETHER * case.users) for case in CASES]
    figures = {case.name: _measure(case, dtype, options.repeats) for case in (*together, *CASES, longest)}
    for name, case_figures in figures.items():
        print(name, {key: round(value, 5) for key, value in case_figures.items()})
    device = torch.cuda.get_device_name()
    print_json("gpu_eval", {"device": device, "dtype": options.dtype, "largest_p_error": error, **figures})


def _network(dtype: torch.dtype, device: torch.device) -> Network:
    network = new_network(1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return frozen_network(network.state_dict(), dtype).to(device)


def _recall(network: Network, recorded: RecordedRows, asked: _Asked) -> tuple[torch.Tensor, torch.Tensor]:
    """Both predictions as in get_result: the curve after review rows, and the immediate one at query rows."""
    x = recorded(asked.batch)
    columns = (asked.after, asked.elapsed_s, asked.queries)
    after, elapsed_s, queries = (column.to(x.device, non_blocking=True) for column in columns)
    p_ahead, p_imm, _ = read_predictions(network, x, after, elapsed_s, queries)
    return p_ahead, p_imm


def _checked_error(dtype: torch.dtype) -> float:
    """The largest difference in probability from float32 on the CPU; exits if it exceeds the limit of rounding."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    networks = _network(dtype, gpu), _network(torch.float32, cpu)
    ours, theirs = (_recall(network, RecordedRows(network), _ready(_SMALL, network)) for network in networks)
    error = max(float((our.cpu() - their).abs().max()) for our, their in zip(ours, theirs, strict=True))
    return within("the largest difference of a probability from the CPU's", error, _LARGEST_ERROR[dtype])


def _ready(case: Case, network: Network) -> _Asked:
    """A batch of the case and the rows to predict, in the form that a loader's worker returns."""
    batch = make_batch(case, 1)
    after = (batch.labels.has_label & ~batch.is_query).nonzero().squeeze(1)
    queries = batch.is_query.nonzero().squeeze(1)
    elapsed_s = batch.labels.elapsed_s[after]
    sliced = sliced_for(batch, network.backend)
    if network.device.type == "cpu":
        return _Asked(sliced, after, elapsed_s, queries, len(batch))
    return _Asked(sliced.pin_memory(), after.pin_memory(), elapsed_s.pin_memory(), queries.pin_memory(), len(batch))


def _measure(case: Case, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    device = torch.device("cuda")
    network = _network(dtype, device)
    recorded, asked = RecordedRows(network), _ready(case, network)
    for _ in range(_UNTIL_RECORDED if asked.rows < 10**6 else 1):
        _recall(network, recorded, asked)
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats if asked.rows < 10**6 else 2):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        _recall(network, recorded, asked)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    median, peak_gb = statistics.median(seconds), torch.cuda.max_memory_allocated() / 1e9
    return {
        "ms": 1e3 * median,
        "reviews_per_s": case.users * case.reviews / median,
        "rows_per_s": asked.rows / median,
        "peak_gb": peak_gb,
        "launches": launches(lambda: _recall(network, recorded, asked)),
    }


if __name__ == "__main__":
    main()
