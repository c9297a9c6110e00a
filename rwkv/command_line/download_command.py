"""The command `rwkv download`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_users, completed_by_folders
from rwkv.command_line.user_numbers import ranges_text
from rwkv.plurals import counted, form

if TYPE_CHECKING:
    from rwkv.benchmark.download import Download

_DESCRIPTION = """\
Download the dataset anki-revlogs-10k of open-spaced-repetition from the Hugging Face hub, or some of its users. Every
file is checked by its hash. Rerun the command to continue an interrupted download, to repair a damaged one, or to add
users: only what is missing or differs is downloaded.

If the hub asks for a login, accept the dataset's terms on its page, and run `hf auth login` or set HF_TOKEN."""

_FOLDER = Path("anki-revlogs-10k")


def add_download(commands: Commands) -> None:
    """Add the command `download`."""
    parser = add_command(commands, "download", _run, "download the dataset anki-revlogs-10k, or a part", _DESCRIPTION)
    add_users(parser)
    help = f"the dataset's folder, for DATA_PATH (default: {_FOLDER})"
    completed_by_folders(parser.add_argument("--out", type=Path, default=_FOLDER, metavar="DIR", help=help))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.benchmark.download import download

    result = download(options.users, options.out)
    fields = {name: value for name, value in vars(result).items() if name != "exit_code"}
    return Answer(_format(result, options.out), {"dataset": options.out, **fields}, result.exit_code)


def _format(result: "Download", out: Path) -> str:
    from rwkv.collection.users import ranges_of

    files = f"{counted(result.fetched, 'file')} downloaded, {result.kept:,} {form(result.kept, 'was', 'were')} there"
    lines = [f"{counted(len(result.users), 'user')} in {out}: {files}"]
    if missing := result.files - result.fetched - result.kept:
        lines.append(f"{counted(missing, 'file')} {form(missing, 'is', 'are')} missing; see the messages above")
    if result.absent:
        lines.append(f"not in the dataset: {ranges_text(ranges_of(result.absent))} ({len(result.absent):,})")
    lines.append(f"next: `rwkv check {out}`, and DATA_PATH = {str(out)!r} in the benchmark's configurations")
    return "\n".join(lines)
