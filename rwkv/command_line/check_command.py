"""The command `rwkv check`."""

import argparse
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_processes, add_users, completed_by_folders
from rwkv.errors import InputError

_DESCRIPTION = """\
Read every user of a dataset, or of a folder written by `rwkv import`, with the same checks as all other commands. Shows
numbers, ranges, what is corrected on reading, and the first error of each user that cannot be read.

A folder with an LMDB database is checked, too: the keys of the benchmark, or a store of reviews, with all checksums.

The exit code is 2 if anything is corrupt. It is 1 if nothing is, but users with cards or decks lack their revlog, as
after an interrupted download: other commands leave such users out. Users without cards or decks are usual."""


def add_check(commands: Commands) -> None:
    """Add the command `check`."""
    parser = add_command(commands, "check", _run, "check a dataset, or a database made of it", _DESCRIPTION)
    completed_by_folders(parser.add_argument("folder", type=Path, metavar="DATA", help="the folder"))
    add_users(parser)
    add_processes(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.users import check_exists

    check_exists(options.folder)  # before imports of packages that may be missing
    from rwkv.benchmark.check_database import check_database, is_database
    from rwkv.benchmark.check_dataset import check_dataset
    from rwkv.command_line.check_table import database_fields, dataset_fields, format_database, format_dataset

    if is_database(options.folder):
        parts = check_database(options.folder, options.users)
        text, fields = format_database(options.folder, parts), database_fields(options.folder, parts)
        is_corrupt, is_incomplete = any(part.errors for part in parts), False
    else:
        check = check_dataset(options.folder, options.users, options.processes)
        text, fields = format_dataset(check), dataset_fields(check)
        is_corrupt, is_incomplete = bool(check.errors), bool(check.incomplete)
    return Answer(text, fields, InputError.exit_code if is_corrupt else int(is_incomplete))
