"""Evaluation on a GPU, the three cases and one long user: reviews a second, memory, error against the CPU.

python -m bench.gpu_eval [--dtype bfloat16] [--repeats 10] [--longest 1000000]
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from bench.cases import CASES, Case, make_batch
from bench.report import print_json
from rwkv.device import TORCH_DTYPES
from rwkv.evaluation.predict import last_rows, sliced_for
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.network import Network, frozen_network, new_network
from rwkv.model.slices import ROWS_OF_A_GPU_SLICE, slices
from rwkv.training.validate import HeldOut

_TOGETHER = 4
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
    # As get_result runs them: users packed together up to one slice. And one batch of the size of a training step.
    together = [replace(case, name=f"{case.name} x {_TOGETHER}", users=_TOGETHER * case.users) for case in CASES]
    figures = {case.name: _measure(case, dtype, options.repeats) for case in (*together, *CASES, longest)}
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
def _recall(network: Network, held_out: HeldOut) -> tuple[torch.Tensor, torch.Tensor]:
    """Both predictions where get_result asks for them: the curve after reviews, the immediate one at queries."""
    x = last_rows(network, held_out.batch)
    labels, is_query = held_out.labels, held_out.is_query
    after = (labels.has_label & ~is_query).nonzero().squeeze(1)
    elapsed_s = labels.elapsed_s[after]
    ahead, imm = [], []
    for part in slices(len(after), ROWS_OF_A_GPU_SLICE):
        curve = network.read_curve(x[after[part].to(x.device)])
        ahead.append(curve_logits(*curve, elapsed_s[part].to(x.device)).corrected.sigmoid())
    queries = is_query.nonzero().squeeze(1)
    for part in slices(len(queries), ROWS_OF_A_GPU_SLICE):
        imm.append(immediate_recall(network.read_ratings(x[queries[part].to(x.device)])))
    return torch.cat(ahead), torch.cat(imm)


def _error(dtype: torch.dtype) -> float:
    """The largest difference in probability from float32 on the CPU."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    ours = _recall(_network(dtype, gpu), _ready(_SMALL, gpu))
    theirs = _recall(_network(torch.float32, cpu), _ready(_SMALL, cpu))
    return max(float((our.cpu() - their).abs().max()) for our, their in zip(ours, theirs, strict=True))


def _ready(case: Case, device: torch.device) -> HeldOut:
    """A batch of the case as a loader's worker hands it over, with its labels."""
    batch = make_batch(case, 1)
    return HeldOut(sliced_for(batch, device), batch.is_query, batch.labels)


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
