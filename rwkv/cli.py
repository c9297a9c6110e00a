"""The `rwkv` command. Each subcommand only parses its arguments and calls the function that does the work."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rwkv", description="RWKV for spaced repetition.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="the whole way on simulated learners, in a few minutes"))
    _add_simulate(commands.add_parser("simulate", help="write simulated learners in the dataset's layout"))
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return run_command(lambda: run(options))


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Simulate learners, find the reviews that count, preprocess, train, evaluate on other learners, walk through "
        "one of them review by review, and compare with AVG and FSRS-6. The same command goes on where it stopped."
    )
    parser.add_argument("--out", type=Path, default=Path("rwkv-demo"), help="where all of it goes (default: rwkv-demo)")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from rwkv.commands.demo import demo  # loads torch, which the other commands do without

    return demo(options.out)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write simulated learners as parquet files, with their true recall probabilities in truth/."
    parser.add_argument("--users", type=int, required=True, help="how many learners")
    parser.add_argument("--reviews", type=int, required=True, help="reviews a learner, in the mean")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other learners (default: 1)")
    parser.add_argument("--first-user", type=int, default=1, help="number of the first learner (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="the dataset's folder, for DATA_PATH")
    parser.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from rwkv.commands.simulate import simulate

    return simulate(options.users, options.reviews, options.seed, options.out, options.first_user)


if __name__ == "__main__":
    sys.exit(main())
