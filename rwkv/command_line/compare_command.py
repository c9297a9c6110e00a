"""The command `rwkv compare`."""

import argparse
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_folder,
    add_model,
    add_users,
    completed_by_folders,
    reading_choices,
)
from rwkv.errors import InputError

_DESCRIPTION = """\
Compare AVG, a moving average, FSRS-6 with default parameters, FSRS-6 optimised on each user, RWKV and RWKV-P on the
reviews that the SRS benchmark counts: LogLoss and RMSE(bins), lower is better, and AUC, higher is better.

FSRS-6 is optimised as in the benchmark: in five steps, each on all reviews before those it predicts. The ± of a mean is
the uncertainty over users, and the ± of one user's number the uncertainty over that user's reviews."""


def add_compare(commands: Commands) -> None:
    """Add the command `compare`."""
    parser = add_command(commands, "compare", _run, "compare RWKV, FSRS-6 and averages on your reviews", _DESCRIPTION)
    add_folder(parser, "+")
    add_users(parser)
    add_model(parser)
    help = "also compare the algorithms of all files NAME.jsonl in this folder, in the benchmark's format"
    completed_by_folders(parser.add_argument("--results", type=Path, metavar="FOLDER", help=help))
    help = "write NAME.jsonl for each algorithm, in the benchmark's format; lines of other users are kept"
    completed_by_folders(parser.add_argument("--write", type=Path, metavar="FOLDER", help=help))
    help = "cards without a note: own for one note each, published for the published numbering (default: own)"
    parser.add_argument("--missing-notes", choices=("own", "published"), default="own", help=help)


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
