"""The command `rwkv import`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_reading,
    completed_by_files,
    completed_by_folders,
    reading_choices,
)

_DESCRIPTION = """\
Import collections into a folder in the dataset's layout, which all other commands read. Each file becomes a user of the
folder: .colpkg, .apkg, collection.anki2, an Anki profile folder, CSV as fsrs-optimizer defines it, or Anki's table
revlog as CSV, alone or in a folder with cards, notes and col. The source is not changed. The command reports how many
reviews each rule of docs/formats.md affected."""


def add_import(commands: Commands) -> None:
    """Add the command `import`."""
    parser = add_command(commands, "import", _run, "import Anki collections or CSV files", _DESCRIPTION)
    completed_by_files(parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="the collections"))
    out = parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write, new or with users"
    )
    completed_by_folders(out)
    help = (
        "replace the user that an earlier state of the collection became. That user is recognised by the reviews: the "
        "file must contain more than half of them. Without such a user the file becomes a new one"
    )
    parser.add_argument("--replace", action="store_true", help=help)
    add_reading(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.import_collections import format_imports, import_collections

    imports = import_collections(options.files, options.out, reading_choices(options), options.replace)
    fields = {
        "folder": options.out,
        "users": [
            {"user": user, "outcome": imports.outcomes[user], **asdict(info)} for user, info in imports.users.items()
        ],
        "failed": [{"file": file, "error": str(error)} for file, error in imports.failed.items()],
    }
    return Answer(format_imports(imports, options.out), fields, exit_code=1 if imports.failed else 0)
