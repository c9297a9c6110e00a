"""The training command on several GPUs, started by torchrun, compared with the command on one of them.

python -m bench.gpu_many [--processes 2] [--users 400] [--reviews 3000] [--workers 12] [--epochs 8]
"""

import argparse
import math
import statistics
import tempfile
from argparse import Namespace
from pathlib import Path

import torch

from bench.gpu import need_gpu
from bench.limits import within
from bench.report import print_json
from bench.training_command import ROWS_A_STEP, STORE_SIZE, CommandSteps, command_steps, prepare
from rwkv.batches.plan import segment_places, training_groups
from rwkv.data.database import Database
from rwkv.data.store import ReviewStore

# Number of the first steps whose losses are compared, with the same rows in a step and the same dropout.
_FIRST_STEPS = 20
# Their relative difference: bfloat16, and sums in another order, which grow over the steps.
_LIMIT = 2e-2


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="GPUs that share the steps")
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--reviews", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=12, help="loader processes of each GPU")
    parser.add_argument("--epochs", type=int, default=8, help="at least 2; the first one is not timed")
    options = parser.parse_args()
    need_gpu()
    if torch.cuda.device_count() < options.processes:
        raise SystemExit(
            f"This benchmark needs {options.processes} GPUs, and PyTorch finds {torch.cuda.device_count()}."
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, options)
        one = command_steps(root, options, ROWS_A_STEP, 1, "one")
        shared = command_steps(root, options, ROWS_A_STEP, options.processes, "shared")
        many = command_steps(root, options, ROWS_A_STEP * options.processes, options.processes, "many")
        rates = [
            _rate(root, options, one, ROWS_A_STEP),
            _rate(root, options, shared, ROWS_A_STEP),
            _rate(root, options, many, ROWS_A_STEP * options.processes),
        ]
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name(),
        "processes": options.processes,
        "workers_of_each": options.workers,
        "loss_error": within("the relative difference of the first losses", _apart(one, shared), _LIMIT),
        "loss_of_last_epoch": within("the mean loss of the last steps", _last(many), _first(many) - 0.01),
        "one_reviews_per_s": rates[0],
        "many_reviews_per_s": rates[2],
        "ratio": rates[2] / rates[0],
        "ratio_with_the_same_rows_in_a_step": rates[1] / rates[0],
        "first_step_s": [steps.seconds[0] for steps in (one, shared, many)],
    }
    for name, value in figures.items():
        print(f"{name:<36} {value}")
    print_json("gpu_many", figures)


def _rate(root: Path, options: Namespace, steps: CommandSteps, rows: int) -> float:
    """Reviews per second after the first epoch, in which all sizes of batches are recorded."""
    with Database(root / "store", STORE_SIZE, "", readonly=True) as database:
        places = segment_places(ReviewStore(database), range(1, options.users + 1))
    groups = len(training_groups(places, rows))
    later = steps.seconds[groups - 1 :]
    reviews = sum(place.stop - place.start for place in places) / groups
    return reviews * (len(later) - 1) / (later[-1] - later[0])


def _apart(one: CommandSteps, shared: CommandSteps) -> float:
    pairs = zip(one.losses[:_FIRST_STEPS], shared.losses[:_FIRST_STEPS], strict=True)
    apart = [abs(ours / theirs - 1) for theirs, ours in pairs]
    return math.nan if any(map(math.isnan, apart)) else max(apart)


def _first(steps: CommandSteps) -> float:
    return statistics.fmean(steps.losses[:_FIRST_STEPS])


def _last(steps: CommandSteps) -> float:
    return statistics.fmean(steps.losses[-_FIRST_STEPS:])


if __name__ == "__main__":
    main()
