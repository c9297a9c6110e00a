"""`rwkv import`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, completed_by_files, completed_by_folders

_DESCRIPTION = """\
Read collections of people into a folder in the dataset's layout, which all other commands take. Each file becomes a
user of the folder: .colpkg, .apkg, collection.anki2, an Anki profile folder, CSV as fsrs-optimizer defines it, or
Anki's table revlog as CSV, alone or in a folder with cards, notes and col. The source is only read. What every rule met
is told; docs/formats.md explains the rules."""

_ELAPSED = (
    "what elapsed_seconds counts. Anki dates a review at the end of the answer, so that the published data, and the "
    "published weights, have the answer's own duration in it (published, the default); start leaves it out: from the "
    "answer before to the moment the question was shown"
)
_GRADES = (
    "Anki's old scheduler numbers the buttons Again 1, Good 2, Easy 3 while learning. They are mapped to 1, 3, 4 where "
    "the collection names that one or none and its answers do not disprove it, for each stretch of time (auto, the "
    "default); everywhere (old); or nowhere (raw)"
)


def add_import(commands: Commands) -> None:
    """Somebody's collection -> a user."""
    parser = add_command(commands, "import", _run, "read Anki collections or CSV into a folder", _DESCRIPTION)
    completed_by_files(parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what to read"))
    out = parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder, new or with users")
    completed_by_folders(out)
    parser.add_argument("--timezone", help="UTC+02:00 or Europe/Berlin (default: the collection's; CSV: UTC)")
    parser.add_argument(
        "--rollover", type=int, metavar="HOUR", help="hour at which days begin (default: the collection's; CSV: 4)"
    )
    help = "what the person is called (default: as the file or its folder), for one file"
    parser.add_argument("--name", metavar="TEXT", help=help)
    help = (
        "a later state of a collection takes the place of the user that it was. It takes no number: that user is known "
        "by the reviews, more than half of which the file must hold; without one the file becomes a new user"
    )
    parser.add_argument("--replace", action="store_true", help=help)
    parser.add_argument("--elapsed", choices=("published", "start"), default="published", help=_ELAPSED)
    parser.add_argument("--grades", choices=("auto", "raw", "old"), default="auto", help=_GRADES)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.import_collections import format_imports, import_collections
    from rwkv.data.imports.imported import ImportChoices

    choices = ImportChoices(options.timezone, options.rollover, options.elapsed, options.grades, options.name)
    imports = import_collections(options.files, options.out, choices, options.replace)
    fields = {
        "folder": options.out,
        "users": [{"user": user, **asdict(info)} for user, info in imports.users.items()],
        "failed": [{"file": file, "error": str(error)} for file, error in imports.failed.items()],
    }
    return Answer(format_imports(imports, options.out), fields, exit_code=1 if imports.failed else 0)
