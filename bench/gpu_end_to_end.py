"""The training command on a GPU with its loader workers, compared with bare steps on the same batches.

python -m bench.gpu_end_to_end [--users 400] [--reviews 3000] [--workers 12] [--epochs 4]; two epochs at least
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.gpu import need_gpu
from bench.limits import within
from bench.report import print_json
from bench.training_command import RATE, ROWS_A_STEP, SEED, STORE_SIZE, WARM_UP, command_steps, prepare
from rwkv.batches.loader import training_batch
from rwkv.batches.padding import PaddedBatch, pad_batch
from rwkv.batches.plan import Group, segment_places, steps_from, training_groups
from rwkv.data.database import Database
from rwkv.data.store import ReviewStore
from rwkv.model.inputs import counter_hash
from rwkv.model.network import new_network
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from rwkv.training.staging import staged
from rwkv.training.step import Launched, reports

_GPU = torch.device("cuda")
# Number of the command's first steps that are repeated as bare steps. The command is timed after its first epoch, in
# which all sizes of batches are recorded.
_FIRST_STEPS = 20
# The relative difference of the first losses, which have the same batches and dropout.
_LIMIT = 1e-2


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--reviews", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    need_gpu()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, options)
        command = command_steps(root, options)
        with Database(root / "store", STORE_SIZE, "", readonly=True) as database:
            store = ReviewStore(database)
            places = segment_places(store, range(1, options.users + 1))
            groups = training_groups(places, ROWS_A_STEP)
            reviews_a_step = sum(place.stop - place.start for place in places) / len(groups)
            bare, bare_losses = _bare_steps(store, groups)
    later = command.seconds[len(groups) :]
    of_command = (later[-1] - later[0]) / (len(later) - 1)
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name(),
        "steps": len(command.losses),
        "workers": options.workers,
        **_checked(command.losses, bare_losses, len(groups)),
        "command_reviews_per_s": reviews_a_step / of_command,
        "bare_reviews_per_s": reviews_a_step / bare,
        "share": bare / of_command,
        "first_step_s": command.seconds[0],
    }
    for name, value in figures.items():
        print(f"{name:<28} {value}")
    print_json("gpu_end_to_end", figures)


def _checked(losses: list[float], bare_losses: list[float], epoch: int) -> dict[str, float]:
    """Check that the first losses equal those of bare steps, and that the loss falls. epoch: the steps of an epoch."""
    apart = [abs(ours / bare - 1) for ours, bare in zip(losses, bare_losses, strict=False)]
    first, last = statistics.fmean(losses[:epoch]), statistics.fmean(losses[-epoch:])
    worst = math.nan if any(map(math.isnan, apart)) else max(apart)
    return {
        "loss_error": within("the relative difference of the command's first losses", worst, _LIMIT),
        "loss_of_first_epoch": first,
        "loss_of_last_epoch": within("the mean loss of the last epoch", last, first - 0.01),
    }


def _bare_steps(store: ReviewStore, groups: list[Group]) -> tuple[float, list[float]]:
    """The seconds of a step on prepared batches, and the losses of the command's first steps."""
    visits = steps_from(0, _FIRST_STEPS, len(groups), SEED)
    batches = [training_batch(store, groups[group], SEED, epoch) for epoch, group in visits]
    padded = [pad_batch(batch, ROWS_A_STEP).pin_memory() for batch in batches]
    network = new_network(SEED).to(_GPU)
    optimizer = make_optimizer(dict(network.named_parameters()))
    steps = RecordedSteps(network, optimizer, torch.bfloat16, "all")

    def take(batches: list[PaddedBatch]) -> list[float | None]:
        """The losses of steps, with the command's seeds of dropout: the low 32 bits of a hash."""

        def launched() -> Iterator[tuple[int, Launched]]:
            for n, batch in enumerate(staged(batches, _GPU), 1):
                set_learning_rate(optimizer, learning_rate("WS", n, RATE, WARM_UP, _FIRST_STEPS))
                yield n, steps.launch(batch, counter_hash(SEED, n) & 0xFFFFFFFF)

        return [report.loss for _, report in reports(launched(), lambda n: False)]

    losses = [math.nan if loss is None else loss for loss in take(padded)]
    begun = time.perf_counter()
    take(padded * 2)
    return (time.perf_counter() - begun) / (2 * len(padded)), losses


if __name__ == "__main__":
    main()
