"""The parts that commands share: the parser class, and arguments of several commands."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rwkv.command_line.answer import Answer, as_json
from rwkv.command_line.user_numbers import user_numbers
from rwkv.errors import InputError
from rwkv.files import check_output, is_stream

Run = Callable[[argparse.Namespace], Answer]

# shtab's names for the shells' own completion of paths.
_FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
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

# The end of argparse's message about an option without its value.
_NO_VALUE = "expected one argument"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the width of the terminal. Paragraphs with indented lines stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(part if "\n  " in part else textwrap.fill(part, width) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """A parser that accepts option values with a leading minus, such as --cards -is:new.

    With --json it reports wrong usage on stdout, too.
    """

    _arguments: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parse after joining such values to their options. A command refuses what it does not know itself."""
        self._arguments = self._joined(sys.argv[1:] if args is None else list(args))
        options, unknown = super().parse_known_args(self._arguments, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        if message.endswith(_NO_VALUE):
            message += "; write a value with two leading minuses as --option=--value"
        if "--json" in self._arguments:
            print(as_json({"error": {"what": message, "next": f"see {self.prog} --help"}, "exit_code": 2}))
        super().error(message)

    def _joined(self, arguments: Sequence[str]) -> list[str]:
        joined: list[str] = []
        for argument in arguments:
            begins = argument.startswith("-") and not argument.startswith("--") and argument not in self._options
            before = self._options.get(joined[-1]) if joined else None
            if begins and before is not None and before.nargs is None and "--" not in joined:
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined

    @property
    def _options(self) -> dict[str, argparse.Action]:
        return self._option_string_actions


if TYPE_CHECKING:
    from rwkv.data.imports.imported import ImportChoices

    Commands = argparse._SubParsersAction[Parser]
else:
    Commands = object


def add_command(
    commands: Commands, name: str, run: Run, help: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """Add a command with --json and --quiet.

    Args:
        commands: The group of commands.
        name: The command's name.
        run: Runs the command with the parsed options.
        help: Its line in the list of commands.
        description: The text before the options in its help.
        epilog: The text after the options.
    """
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, also for errors")
    parser.add_argument("--quiet", action="store_true", help="print only errors on stderr")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_when(parser: argparse.ArgumentParser) -> None:
    """Add --user and --at."""
    help = "the user (default: the only one of the folder)"
    _add_spelled(parser, "--user", "--users", type=_one_user, metavar="N", help=help)
    help = "the moment: +3d, +12h, +30m from now, today, YYYY-MM-DD (noon) or YYYY-MM-DDTHH:MM (default: now)"
    parser.add_argument("--at", metavar="TIME", help=help)


def add_users(parser: argparse.ArgumentParser, help: str = "only these users, such as 1,4-6") -> None:
    """Add --users."""
    _add_spelled(parser, "--users", "--user", type=user_numbers, metavar="N,N-N", help=help)


def _add_spelled(parser: argparse.ArgumentParser, name: str, other: str, **settings: Any) -> None:
    """Add an option that the help shows under one name, and that has another name, too."""
    option = parser.add_argument(name, **settings)
    parser.add_argument(other, dest=option.dest, **settings | {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS})


def _one_user(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of one user") from None


def add_retention(parser: argparse.ArgumentParser) -> None:
    """Add --retention."""
    help = "desired recall at the next review (default: by each card's preset, or 0.9)"
    parser.add_argument("--retention", type=float, metavar="P", help=help)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    help = "weights, .pth or .safetensors (default: the package's own, see `rwkv info`)"
    completed_by_files(parser.add_argument("--model", type=Path, metavar="PATH", help=help))


def add_states(parser: argparse.ArgumentParser) -> None:
    """Add --states."""
    help = "save the network's states beside the reviews read if they need at most this much; 0: never (default: 100)"
    parser.add_argument("--states", type=_bytes_of_megabytes, metavar="MB", help=help)


def _bytes_of_megabytes(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number of MB, 0 or more, got {text!r}")
    return round(1e6 * size)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add --processes."""
    parser.add_argument("--processes", type=_one_or_more, default=1, metavar="N", help="worker processes (default: 1)")


def _one_or_more(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)


def add_folder(parser: argparse.ArgumentParser, count: str | None = None) -> None:
    """Add COLLECTION, where the users are, and how to read it. count: argparse's nargs."""
    help = (
        "a collection (.colpkg, .apkg, collection.anki2, a profile folder or CSV), a folder written by `rwkv import`, "
        "or a dataset in the layout of anki-revlogs-10k"
    )
    name = "folder" if count in (None, "?") else "folders"
    completed_by_files(parser.add_argument(name, type=Path, nargs=count, metavar="COLLECTION", help=help))
    add_reading(parser.add_argument_group("how to read a collection, as in rwkv import"))


def add_reading(parser: argparse._ActionsContainer) -> None:
    """Add the options for reading a collection."""
    parser.add_argument("--timezone", help="UTC+02:00 or Europe/Berlin (default: the collection's; CSV: UTC)")
    parser.add_argument(
        "--rollover",
        dest="rollover_hour",
        type=int,
        metavar="HOUR",
        help="the hour at which days begin (default: the collection's; CSV: 4)",
    )
    help = "the person's name, for a single file (default: the name of the file or its folder)"
    parser.add_argument("--name", metavar="TEXT", help=help)
    parser.add_argument("--elapsed", choices=("published", "start"), default="published", help=_ELAPSED)
    parser.add_argument("--grades", choices=("auto", "raw", "old"), default="auto", help=_GRADES)


def reading_choices(options: argparse.Namespace) -> "ImportChoices":
    """The parsed options of `add_reading`. Raises InputError if one is invalid."""
    from rwkv.data.imports.imported import ImportChoices

    return ImportChoices(options.timezone, options.rollover_hour, options.elapsed, options.grades, options.name)


def opened_folder(options: argparse.Namespace) -> Path:
    """The folder of COLLECTION's users. Raises InputError if it cannot be read."""
    from rwkv.collection.cached_import import open_collection

    return open_collection(options.folder, reading_choices(options))


def add_out(parser: argparse.ArgumentParser, help: str, default: Path | None = None, required: bool = False) -> None:
    """Add --out, a file. A folder or a device is refused before the work."""
    out = parser.add_argument("--out", type=_output, default=default, required=required, metavar="FILE", help=help)
    completed_by_files(out)


def written(what: str, path: Path, notice: str | None = None) -> str:
    """A sentence about the written file, and a line with the notice; "" if the path is stdout or a pipe."""
    if is_stream(path):
        return ""
    return f"{what} written to {path}" + (f"\nNOTICE: {notice}" if notice else "")


def _output(text: str) -> Path:
    try:
        check_output(Path(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def completed_by_files(argument: argparse.Action) -> argparse.Action:
    """Let the shell complete the argument with files."""
    argument.complete = _FILES  # type: ignore[attr-defined]
    return argument


def completed_by_folders(argument: argparse.Action) -> argparse.Action:
    """Let the shell complete the argument with folders."""
    argument.complete = _FOLDERS  # type: ignore[attr-defined]
    return argument
