"""`rwkv report`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.compare_command import user_numbers
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_model,
    add_out,
    add_when,
    completed_by_files,
    completed_by_folders,
)
from rwkv.files import is_stream

_DESCRIPTION = """\
Write one HTML file to be looked at, which needs no network: how it goes, what to review today, which cards are weak and
how far to trust that; then every card's recall and history, the days ahead and behind, decks, habits, calibration and
log loss of RWKV, RWKV-P and FSRS-6, and the comparison table.

  rwkv report mine                           a collection that was imported
  rwkv report data --user 3 --compared 3-12  one's report, ten compared
  rwkv report --training rwkv-demo/pretrain  the loss curves of training runs"""


def add_report(commands: Commands) -> None:
    """Somebody's collection, or a training, as a page."""
    parser = add_command(commands, "report", _run, "a page to look at: one HTML file", _DESCRIPTION)
    help = "a folder that `rwkv import` has made, or a dataset in the layout of anki-revlogs-10k"
    completed_by_folders(parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help=help))
    add_when(parser)
    help = "who is in the comparison, such as 1,4-6 (default: that user); all else is of --user"
    parser.add_argument("--compared", type=user_numbers, metavar="N,N-N", help=help)
    add_model(parser)
    help = "a log SAVE_MODEL_PREFIX.log.jsonl, or a folder of them; may be repeated"
    completed_by_files(
        parser.add_argument("--training", type=Path, action="append", default=[], metavar="PATH", help=help)
    )
    help = "the file to write (default: report.html)"
    add_out(parser, help, Path("report.html"))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.report.write_report import Asked, write_report  # loads torch

    asked = Asked(
        folder=options.folder,
        user=options.user,
        compared=options.compared,
        model=options.model,
        at=options.at,
        training=options.training,
    )
    done = write_report(asked, options.out)
    lines = [f"{done.path}: {done.size / 1e6:.1f} MB, open it in a browser"]
    if done.notice:
        lines.append(done.notice)
    return Answer("" if is_stream(done.path) else "\n".join(lines), asdict(done), done.exit_code)
