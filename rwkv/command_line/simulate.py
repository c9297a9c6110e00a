"""`rwkv simulate`."""

import argparse
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, completed_by_folders

_DESCRIPTION = "Write simulated learners as parquet files, with their true recall probabilities in truth/."


def add_simulate(commands: Commands) -> None:
    """Datasets to try everything on."""
    parser = add_command(commands, "simulate", _run, "write simulated learners in the dataset's layout", _DESCRIPTION)
    parser.add_argument("--users", type=int, required=True, help="how many learners")
    parser.add_argument("--reviews", type=int, required=True, help="reviews a learner, in the mean")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other learners (default: 1)")
    parser.add_argument("--first-user", type=int, default=1, help="number of the first learner (default: 1)")
    parser.add_argument(
        "--spread",
        type=float,
        default=0.7,
        help="of the log of their numbers of reviews; people have 1.4 (default: 0.7)",
    )
    parser.add_argument("--processes", type=int, default=1, help="worker processes (default: 1)")
    completed_by_folders(
        parser.add_argument("--out", type=Path, required=True, help="the dataset's folder, for DATA_PATH")
    )


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.commands.simulate import simulate

    exit_code = simulate(
        options.users,
        options.reviews,
        options.seed,
        options.out,
        options.first_user,
        options.spread,
        options.processes,
    )
    users = [options.first_user, options.first_user + options.users - 1]
    return Answer("", {"dataset": options.out, "first_user": users[0], "last_user": users[1]}, exit_code)
