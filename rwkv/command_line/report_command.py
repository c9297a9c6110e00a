"""The command `rwkv report`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_folder,
    add_model,
    add_out,
    add_when,
    completed_by_files,
    opened_folder,
)
from rwkv.command_line.user_numbers import user_numbers
from rwkv.errors import InputError
from rwkv.files import is_stream

_ENDINGS = (".html", ".htm")
_DESCRIPTION = """\
Write a report as one HTML file, which works offline: an overview, the cards to review today, weak cards and how far to
trust the predictions; then the recall and history of every card, the days ahead and behind, decks, habits, the
calibration and log loss of RWKV, RWKV-P and FSRS-6, and the comparison table.

  rwkv report collection.colpkg              a collection
  rwkv report mine                           a folder written by rwkv import
  rwkv report data --user 3 --compared 3-12  user 3, with ten users compared
  rwkv report --training rwkv-demo/pretrain  the loss curves of training runs"""


def add_report(commands: Commands) -> None:
    """Add the command `report`."""
    parser = add_command(commands, "report", _run, "write a report as an HTML file", _DESCRIPTION)
    add_folder(parser, "?")
    add_when(parser)
    help = "the users of the comparison, such as 1,4-6 (default: the report's user)"
    parser.add_argument("--compared", type=user_numbers, metavar="N,N-N", help=help)
    add_model(parser)
    help = "a training log SAVE_MODEL_PREFIX.log.jsonl, or a folder of logs; may be repeated"
    completed_by_files(
        parser.add_argument("--training", type=Path, action="append", default=[], metavar="PATH", help=help)
    )
    help = "the file to write (default: report.html)"
    add_out(parser, help, Path("report.html"))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.report.write_report import ReportOptions, write_report  # a slow import

    _check_ending(options.out)
    report_options = ReportOptions(
        folder=None if options.folder is None else opened_folder(options),
        user=options.user,
        compared=options.compared,
        model=options.model,
        at=options.at,
        training=options.training,
    )
    report = write_report(report_options, options.out)
    lines = [f"{report.path}: {report.size / 1e6:.1f} MB. Open it in a browser."]
    if report.notice:
        lines.append(report.notice)
    return Answer("" if is_stream(report.path) else "\n".join(lines), asdict(report), report.exit_code)


def _check_ending(out: Path) -> None:
    if not is_stream(out) and out.suffix.lower() not in _ENDINGS:
        what, hint = "The file's ending is wrong for a report.", "choose such a name; a browser can print it as PDF"
        expected = f"a name ending in {' or '.join(_ENDINGS)}"
        raise InputError(what, where="--out", got=str(out), expected=expected, hint=hint)
