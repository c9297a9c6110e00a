"""`rwkv compare`."""

import argparse
import re
from itertools import chain
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_model, completed_by_folders

_MOST_USERS = 1_000_000

_DESCRIPTION = """\
Compare AVG, a moving average, FSRS-6 with default parameters, FSRS-6 optimised on each user, RWKV and RWKV-P on the
reviews that the SRS benchmark counts: LogLoss and RMSE(bins), lower is better, and AUC, higher is better.

FSRS-6 learns as in the benchmark: in five steps, each time from all reviews before those it then predicts. The ±
beside a mean speaks of other users, the ± beside a single user's number of other reviews of the same person."""


def add_compare(commands: Commands) -> None:
    """How well several algorithms predict somebody's reviews."""
    parser = add_command(commands, "compare", _run, "RWKV, FSRS-6 and averages on somebody's reviews", _DESCRIPTION)
    help = "a folder that `rwkv import` has made, or a dataset in the layout of anki-revlogs-10k"
    completed_by_folders(parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help=help))
    parser.add_argument("--users", type=user_numbers, metavar="N,N-N", help="of these users only, such as 1,4-6")
    add_model(parser)
    help = "compare with the algorithms of all NAME.jsonl there too, in the benchmark's format"
    completed_by_folders(parser.add_argument("--results", type=Path, metavar="FOLDER", help=help))
    help = "write NAME.jsonl there for each algorithm, in the benchmark's format; lines of other users stay"
    completed_by_folders(parser.add_argument("--write", type=Path, metavar="FOLDER", help=help))
    help = 'cards without a note: each a note of its own, or "published" as in the published code (default: own)'
    parser.add_argument("--missing-notes", choices=("own", "published"), default="own", help=help)


def user_numbers(text: str) -> list[int]:
    """1,4-6 -> [1, 4, 5, 6]. Raises ArgumentTypeError for anything else, and for more users than there can be."""
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part, re.ASCII)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is not like 1,4-6")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    if sum(map(len, ranges)) > _MOST_USERS:
        raise argparse.ArgumentTypeError(f"{text!r} names more than {_MOST_USERS} users")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.compare import compare_folders  # loads torch
    from rwkv.command_line.compare_table import comparison_fields, format_comparison

    comparison = compare_folders(
        options.folders, options.users, options.model, options.results, options.write, options.missing_notes
    )
    return Answer(format_comparison(comparison), comparison_fields(comparison), comparison.exit_code)
