"""Rehearse the benchmark on simulated users with the sizes of the dataset, and measure time, memory and disk by stage.

    python -m recipes.rehearsal.run --out rehearsal --reviews-total 20000000

Rerun the command to continue after an interruption; --only STAGE runs one stage. The table is printed at the end of
every run. The configurations of the stages are in rehearsal/configs.
"""

import argparse
import math
from pathlib import Path

from recipes.rehearsal.figures import Figures
from rwkv.runtime import log, run_command

STAGES = ("simulate", "keys", "train_store", "test_store", "train", "evaluate")

# The median and the largest number of reviews of a user in the dataset.
_MEDIAN, _GIANT = 31_000, 3_900_000
_LEAST = {"giant": 0, "median": 1, "processes": 1}


def main(arguments: list[str] | None = None) -> int:
    """Run the remaining stages, and print the table. arguments: by default those of the command line."""
    options = parsed(arguments)
    from recipes.rehearsal.stages import run_stage  # loads PyTorch, during which Ctrl-C is handled here
    from rwkv.device import open_device

    open_device(options.device, threads=0, key="--device")  # the stages before the training take hours
    figures = Figures(options.out / "figures.json", _settings(options)).load()
    try:
        for stage in STAGES:
            if options.only not in (None, stage):
                continue
            if figures.is_done(stage):
                log.info("%s is done", stage)
                continue
            log.info("%s", stage)
            run_stage(stage, options, figures)
    finally:
        print(figures.table())
    return 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a rehearsal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of all output")
    parser.add_argument("--reviews-total", type=int, default=20_000_000, help="about the number of all reviews")
    parser.add_argument("--giant", type=int, default=_GIANT, help="the reviews of the largest user; 0 for none")
    parser.add_argument("--median", type=int, default=_MEDIAN, help="the median number of reviews of the others")
    parser.add_argument("--epochs", type=float, default=1.0, help="the passes of the training over all reviews")
    parser.add_argument("--network", choices=("small", "published"), help="by default small on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="by default float32 on a CPU, else bfloat16")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=STAGES, help="run only this stage")
    options = parser.parse_args(arguments)
    for name, least in _LEAST.items():
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if not 0 < options.epochs < math.inf:
        parser.error("--epochs must be above 0")
    if options.reviews_total < options.giant:
        parser.error(f"--reviews-total is below --giant, {options.giant}; lower --giant, or set it to 0")
    is_cpu = options.device == "cpu"
    options.network = options.network or ("small" if is_cpu else "published")
    options.dtype = options.dtype or ("float32" if is_cpu else "bfloat16")
    return options


def _settings(options: argparse.Namespace) -> dict[str, object]:
    names = ("reviews_total", "giant", "median", "epochs", "network", "device", "dtype", "processes")
    return {name: getattr(options, name) for name in names}


if __name__ == "__main__":
    raise SystemExit(run_command(main))
