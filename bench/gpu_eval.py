"""Evaluation on a GPU, the three cases and one long user: reviews a second, memory, error against the CPU.

python -m bench.gpu_eval [--dtype bfloat16] [--repeats 10] [--longest 1000000]
"""

import argparse
import statistics
import time

import torch

from bench.cases import CASES, Case, make_batch
from bench.report import print_json
from rwkv.batches.sliced import SlicedBatch, slice_batch
from rwkv.device import TORCH_DTYPES
from rwkv.evaluation.predict import last_rows
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.network import Network, frozen_network, new_network
from rwkv.model.slices import ROWS_OF_A_GPU_SLICE, rows_of_a_slice, slices

_SMALL = Case("small", 3, 400, 60, 45, 4, 2)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=sorted(TORCH_DTYPES), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--longest", type=int, default=1_000_000, help="reviews of the long user")
    options = parser.parse_args()
    dtype = TORCH_DTYPES[options.dtype]
    longest = Case("longest", 1, options.longest, options.longest // 10, options.longest // 13, 40, 4)
    error = _error(dtype)
    figures = {case.name: _measure(case, dtype, options.repeats) for case in (*CASES, longest)}
    for name, found in figures.items():
        print(name, {key: round(value, 5) for key, value in found.items()})
    device = torch.cuda.get_device_name()
    print_json("gpu_eval", {"device": device, "dtype": options.dtype, "largest_p_error": error, **figures})


def _network(dtype: torch.dtype, device: torch.device) -> Network:
    network = new_network(1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return frozen_network(network.state_dict(), dtype).to(device)


@torch.inference_mode()
def _recall(network: Network, batch: SlicedBatch) -> torch.Tensor:
    """Both predictions of every row: [2, N], on the network's device."""
    x = last_rows(network, batch)
    elapsed_s = batch.rows.labels.elapsed_s.to(network.device)
    found = []
    for part in slices(len(batch), ROWS_OF_A_GPU_SLICE):
        outputs = network.read_out(x[part])
        ahead = curve_logits(outputs.w_logits, outputs.ahead_logits, elapsed_s[part]).corrected.sigmoid()
        found.append(torch.stack([ahead, immediate_recall(outputs.p_logits)]))
    return torch.cat(found, 1)


def _error(dtype: torch.dtype) -> float:
    """The largest difference in probability from float32 on the CPU."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    ours = _recall(_network(dtype, gpu), _ready(_SMALL, gpu)).cpu()
    return float((ours - _recall(_network(torch.float32, cpu), _ready(_SMALL, cpu))).abs().max())


def _ready(case: Case, device: torch.device) -> SlicedBatch:
    """A batch of the case as a loader's worker hands it over."""
    return slice_batch(make_batch(case, 1), rows_of_a_slice(device), device.type == "cuda")


def _measure(case: Case, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    device = torch.device("cuda")
    network, batch = _network(dtype, device), _ready(case, device).pin_memory()
    _recall(network, batch)
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats if len(batch) < 10**6 else 2):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        _recall(network, batch)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    return {
        "ms": 1e3 * median,
        "reviews_per_s": case.users * case.reviews / median,
        "rows_per_s": len(batch) / median,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }


if __name__ == "__main__":
    main()
