"""What the commands have in common: how one is added, and the arguments that several of them take."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rwkv.command_line.answer import Answer, as_json
from rwkv.errors import InputError
from rwkv.files import check_output, is_stream

Run = Callable[[argparse.Namespace], Answer]

# Completion of shtab: bash's and zsh's own completion of paths.
_FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
# How argparse ends its message of an option that lacks its value.
_NO_VALUE = "expected one argument"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Paragraphs are filled to the width of the terminal; lines that are indented, and those before them, stay."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(part if "\n  " in part else textwrap.fill(part, width) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """A parser in which the value of an option may begin with a minus: --cards -is:new. With --json a wrong use is
    told on stdout too.
    """

    _given: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse does it, once such values are joined to their options."""
        self._given = self._joined(sys.argv[1:] if args is None else list(args))
        return super().parse_known_args(self._given, namespace)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        if message.endswith(_NO_VALUE):
            message += "; one that begins with two minuses is written --option=--value"
        if "--json" in self._given:
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
    Commands = argparse._SubParsersAction[Parser]
else:
    Commands = object


def add_command(
    commands: Commands, name: str, run: Run, help: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """A command with the options of all. help: a line in the list. description, epilog: around the command's own."""
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, also of an error")
    parser.add_argument("--quiet", action="store_true", help="no progress and no notices on stderr, only errors")
    parser.set_defaults(run=run)
    return parser


def add_when(parser: argparse.ArgumentParser) -> None:
    """--user and --at: of whom, and the moment."""
    parser.add_argument("--user", type=int, metavar="N", help="which user (default: the only one of the folder)")
    help = "a moment: today, 2026-02-01 (noon), 2026-02-01T18:00, or +3d, +12h, +30m from now (default: now)"
    parser.add_argument("--at", metavar="TIME", help=help)


def add_retention(parser: argparse.ArgumentParser) -> None:
    """--retention: of all cards."""
    help = "desired recall at the next review (default: that of each card's preset, or 0.9)"
    parser.add_argument("--retention", type=float, metavar="P", help=help)


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model: see rwkv.collection.chosen_model."""
    help = "weights, .pth or .safetensors (default: those of the package, see `rwkv info`)"
    completed_by_files(parser.add_argument("--model", type=Path, metavar="PATH", help=help))


def add_states(parser: argparse.ArgumentParser) -> None:
    """--states: see rwkv.collection.engine_cache."""
    help = "keep the network's states beside the collection if they take so much, 0: never (default: 100)"
    parser.add_argument("--states", type=_bytes_of_megabytes, metavar="MB", help=help)


def _bytes_of_megabytes(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e9:
        raise argparse.ArgumentTypeError(f"a number of MB from 0 is expected, not {text!r}")
    return round(1e6 * size)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """DIR: where the users lie."""
    help = "what `rwkv import` wrote, or a dataset in the layout of anki-revlogs-10k"
    completed_by_folders(parser.add_argument("folder", type=Path, metavar="DIR", help=help))


def add_out(parser: argparse.ArgumentParser, help: str, default: Path | None = None, required: bool = False) -> None:
    """--out: a file. A folder or a device is refused before any work is done for it."""
    out = parser.add_argument("--out", type=_output, default=default, required=required, metavar="FILE", help=help)
    completed_by_files(out)


def written(what: str, path: Path, notice: str | None = None) -> str:
    """A sentence for stdout, and a line of a notice; nothing where that itself, or another pipe, was written into."""
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
    """The argument is a file: the shell completes it so."""
    argument.complete = _FILES  # type: ignore[attr-defined]
    return argument


def completed_by_folders(argument: argparse.Action) -> argparse.Action:
    """The argument is a folder: the shell completes it so."""
    argument.complete = _FOLDERS  # type: ignore[attr-defined]
    return argument
