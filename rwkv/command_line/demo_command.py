"""`rwkv demo`."""

import argparse
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, completed_by_folders

_DESCRIPTION = (
    "Simulate learners, find the reviews that count, preprocess, train, evaluate on other learners, walk through\n"
    "one of them review by review, and compare with AVG and FSRS-6. The same command goes on where it stopped."
)


def add_demo(commands: Commands) -> None:
    """The whole way on simulated learners."""
    parser = add_command(commands, "demo", _run, "the whole way on simulated learners, in a few minutes", _DESCRIPTION)
    help = "where all of it goes (default: rwkv-demo)"
    completed_by_folders(parser.add_argument("--out", type=Path, default=Path("rwkv-demo"), help=help))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.benchmark.demo import demo, what_next
    from rwkv.benchmark.demo_table import format_table
    from rwkv.collection.chosen_model import demo_model  # all of these load torch

    table = demo(options.out)
    return Answer(f"{format_table(table)}\n{what_next(options.out)}", {**vars(table), "model": demo_model(options.out)})
