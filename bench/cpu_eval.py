"""Evaluation on the CPU: the streams and heads over all rows of a batch, beside the same in plain PyTorch.

python -m bench.cpu_eval [--threads 2] [--repeats 7]
"""

import argparse

import torch

from bench.cases import CPU_CASES, PLAIN_CASE, Case, make_batch
from bench.histories import FLOP_PER_ROW, measured_rates, random_network
from bench.plain_network import plain_network
from bench.report import print_json, timed
from rwkv.batches.collate import Batch
from rwkv.batches.sliced import PlainSlices, plain_slices
from rwkv.evaluation.history_predictions import last_rows
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.network import Network
from rwkv.model.slices import ROWS_OF_A_SLICE, slices
from rwkv.native.library import is_built

_TOLERANCE = 2e-5


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = random_network()
    error, plain_rate = _plain(network, options.repeats)
    figures: dict[str, object] = {"native": is_built(), "threads": options.threads, "largest_error": error}
    figures["plain_rows_per_s"] = plain_rate
    for case in CPU_CASES:
        rates = _measure(network, case, options.repeats)
        figures[case.name] = rates | {"times_plain": rates["rows_per_s"] / plain_rate}
    for name, value in figures.items():
        print(f"{name:<20} {value}")
    print_json("cpu_eval", figures)


@torch.inference_mode()
def _evaluate(network: Network, batch: PlainSlices) -> list[Outputs]:
    """The outputs of all rows, slice by slice, as in `rwkv.evaluation.history_predictions`."""
    x = last_rows(network, batch)
    return [network.read_out(x[part]) for part in slices(len(x), ROWS_OF_A_SLICE)]


def _probabilities(outputs: list[Outputs], batch: Batch) -> torch.Tensor:
    joined = Outputs(*(torch.cat(part) for part in zip(*outputs, strict=True)))
    ahead = curve_logits(joined.w_logits, joined.ahead_logits, batch.labels.elapsed_s).corrected.sigmoid()
    return torch.stack([ahead, immediate_recall(joined.p_logits)])


def _plain(network: Network, repeats: int) -> tuple[float, float]:
    """The largest difference in probability from the plain form, and that form's rows per second.

    Raises:
        RuntimeError: The difference exceeds 2e-5.
    """
    batch = make_batch(PLAIN_CASE, 1)
    sliced = plain_slices(batch, ROWS_OF_A_SLICE)
    ours = _probabilities(_evaluate(network, sliced), batch)
    with plain_network():
        theirs = _probabilities(_evaluate(network, sliced), batch)
        seconds = timed(lambda: _evaluate(network, sliced), repeats)["median_s"]
    error = float((ours - theirs).abs().max())
    if not error <= _TOLERANCE:
        raise RuntimeError(f"the network differs from its plain form by {error}")
    return error, len(batch) / seconds


def _measure(network: Network, case: Case, repeats: int) -> dict[str, float]:
    batch = plain_slices(make_batch(case, 1), ROWS_OF_A_SLICE)
    _evaluate(network, batch)
    return measured_rates(case, len(batch), lambda: _evaluate(network, batch), repeats, FLOP_PER_ROW)


if __name__ == "__main__":
    main()
