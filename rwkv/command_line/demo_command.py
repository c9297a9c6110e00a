"""The command `rwkv demo`."""

import argparse
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, completed_by_folders

_DESCRIPTION = (
    "Simulate learners, find the reviews that count, preprocess, train, evaluate on other learners, predict one of\n"
    "them review by review, and compare with AVG and FSRS-6. Rerun the command to continue an interrupted demo."
)


def add_demo(commands: Commands) -> None:
    """Add the command `demo`."""
    parser = add_command(commands, "demo", _run, "run the benchmark on simulated learners, in minutes", _DESCRIPTION)
    help = "the folder of all output (default: rwkv-demo)"
    completed_by_folders(parser.add_argument("--out", type=Path, default=Path("rwkv-demo"), help=help))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.benchmark.demo import demo, what_next
    from rwkv.benchmark.demo_table import format_table
    from rwkv.collection.chosen_model import demo_model  # these imports load torch

    table = demo(options.out)
    return Answer(f"{format_table(table)}\n{what_next(options.out)}", {**vars(table), "model": demo_model(options.out)})
