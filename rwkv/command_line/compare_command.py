"""The command `rwkv compare`."""

import argparse
import re
from itertools import chain
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_folder,
    add_model,
    completed_by_folders,
    reading_choices,
)
from rwkv.errors import InputError

_MOST_USERS = 1_000_000

_DESCRIPTION = """\
Compare AVG, a moving average, FSRS-6 with default parameters, FSRS-6 optimised on each user, RWKV and RWKV-P on the
reviews that the SRS benchmark counts: LogLoss and RMSE(bins), lower is better, and AUC, higher is better.

FSRS-6 is optimised as in the benchmark: in five steps, each on all reviews before those it predicts. The ± of a mean is
the uncertainty over users, and the ± of one user's number the uncertainty over that user's reviews."""


def add_compare(commands: Commands) -> None:
    """Add the command `compare`."""
    parser = add_command(commands, "compare", _run, "compare RWKV, FSRS-6 and averages on your reviews", _DESCRIPTION)
    add_folder(parser, "+")
    parser.add_argument("--users", type=user_numbers, metavar="N,N-N", help="only these users, such as 1,4-6")
    add_model(parser)
    help = "also compare the algorithms of all files NAME.jsonl in this folder, in the benchmark's format"
    completed_by_folders(parser.add_argument("--results", type=Path, metavar="FOLDER", help=help))
    help = "write NAME.jsonl for each algorithm, in the benchmark's format; lines of other users are kept"
    completed_by_folders(parser.add_argument("--write", type=Path, metavar="FOLDER", help=help))
    help = "cards without a note: own for one note each, published for the published numbering (default: own)"
    parser.add_argument("--missing-notes", choices=("own", "published"), default="own", help=help)


def user_numbers(text: str) -> list[int]:
    """1,4-6 -> [1, 4, 5, 6]. Raises ArgumentTypeError for other text, and for more than a million users."""
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part, re.ASCII)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of users such as 1,4-6")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    if sum(map(len, ranges)) > _MOST_USERS:
        raise argparse.ArgumentTypeError(f"{text!r} names more than {_MOST_USERS} users")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.cached_import import open_collection
    from rwkv.collection.compare import compare_folders  # a slow import
    from rwkv.command_line.compare_table import comparison_fields, format_comparison

    choices = reading_choices(options)
    if choices.name is not None and len(options.folders) > 1:
        what, hint = "A name can be given to one collection only.", "omit --name"
        raise InputError(what, where="--name", got=f"{len(options.folders)} collections", hint=hint)
    folders = [open_collection(path, choices) for path in options.folders]
    comparison = compare_folders(
        folders, options.users, options.model, options.results, options.write, options.missing_notes
    )
    text = format_comparison(comparison)
    if options.write is not None:
        text += f"\n\nresult files written to {options.write}"
    return Answer(text, comparison_fields(comparison), comparison.exit_code)
