"""The command `rwkv import`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, completed_by_files, completed_by_folders

_DESCRIPTION = """\
Import collections into a folder in the dataset's layout, which all other commands read. Each file becomes a user of the
folder: .colpkg, .apkg, collection.anki2, an Anki profile folder, CSV as fsrs-optimizer defines it, or Anki's table
revlog as CSV, alone or in a folder with cards, notes and col. The source is not changed. The command reports how many
reviews each rule of docs/formats.md affected."""

_ELAPSED = (
    "the meaning of elapsed_seconds. Anki dates a review at the end of the answer, so the published data and weights "
    "include the answer's duration (published, the default). start excludes it: from the previous answer to the moment "
    "the question was shown"
)
_GRADES = (
    "Anki's old scheduler numbers the buttons Again 1, Good 2, Easy 3 while learning. auto (the default) maps them to "
    "1, 3, 4 in each period whose answers fit that scheduler, if the collection names it or no other; old maps them "
    "everywhere; raw nowhere"
)


def add_import(commands: Commands) -> None:
    """Add the command `import`."""
    parser = add_command(commands, "import", _run, "import Anki collections or CSV files", _DESCRIPTION)
    completed_by_files(parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="the collections"))
    out = parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write, new or with users"
    )
    completed_by_folders(out)
    parser.add_argument("--timezone", help="UTC+02:00 or Europe/Berlin (default: the collection's; CSV: UTC)")
    parser.add_argument(
        "--rollover", type=int, metavar="HOUR", help="the hour at which days begin (default: the collection's; CSV: 4)"
    )
    help = "the person's name, for a single file (default: the name of the file or its folder)"
    parser.add_argument("--name", metavar="TEXT", help=help)
    help = (
        "replace the user that an earlier state of the collection became. That user is recognised by the reviews: the "
        "file must contain more than half of them. Without such a user the file becomes a new one"
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
        "users": [
            {"user": user, "outcome": imports.outcomes[user], **asdict(info)} for user, info in imports.users.items()
        ],
        "failed": [{"file": file, "error": str(error)} for file, error in imports.failed.items()],
    }
    return Answer(format_imports(imports, options.out), fields, exit_code=1 if imports.failed else 0)
