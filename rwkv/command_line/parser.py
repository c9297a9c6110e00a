"""The parser of all commands, and the run of one: parse, run, print the answer."""

import argparse
import sys
from contextlib import nullcontext, redirect_stdout

from rwkv import __version__
from rwkv.command_line.answer import Answer, as_json
from rwkv.command_line.check_command import add_check
from rwkv.command_line.compare_command import add_compare
from rwkv.command_line.completion_command import add_completion
from rwkv.command_line.demo_command import add_demo
from rwkv.command_line.download_command import add_download
from rwkv.command_line.finetune_command import add_finetune
from rwkv.command_line.import_command import add_import
from rwkv.command_line.info_command import add_info
from rwkv.command_line.option_names import named_options, option_names
from rwkv.command_line.options import HelpFormatter, Parser
from rwkv.command_line.predict_command import add_predict
from rwkv.command_line.report_command import add_report
from rwkv.command_line.schedule_command import add_schedule
from rwkv.command_line.simulate_command import add_simulate
from rwkv.errors import InputError, RwkvError
from rwkv.extras import missing_packages
from rwkv.runtime import log_errors_only, printable

# In the order of the help.
_COMMANDS = (
    add_demo,
    add_download,
    add_check,
    add_simulate,
    add_import,
    add_predict,
    add_schedule,
    add_compare,
    add_report,
    add_finetune,
    add_info,
)

_EPILOG = """\
your own collection, exported from Anki:
  rwkv report collection.colpkg
  rwkv predict collection.colpkg
  rwkv schedule collection.colpkg

exit codes: 0 done; 1 failed, or some users were skipped and listed; 2 bad input;
130 interrupted, 143 ended by SIGTERM: rerun the command to continue"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="rwkv",
        description="RWKV for spaced repetition.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rwkv {__version__}")

    def without_command(options: argparse.Namespace) -> Answer:
        parser.print_help(sys.stderr)
        return Answer("", exit_code=InputError.exit_code)

    parser.set_defaults(run=without_command, parser=parser, json=False, quiet=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    add_completion(commands, parser)
    return parser


def run(arguments: list[str] | None) -> int:
    """Parse the arguments, run the command and print its answer.

    Args:
        arguments: The arguments; None for those of the process.

    Returns:
        The exit code.

    Raises:
        RwkvError: The command failed.
        OSError: A file could not be read or written.
    """
    options = build_parser().parse_args(arguments)
    if options.quiet:
        log_errors_only()
    try:
        # Keep other output of the command out of its JSON.
        with (
            redirect_stdout(sys.stderr) if options.json else nullcontext(),
            named_options(option_names(options.parser)),
            missing_packages(),
        ):
            answer: Answer = options.run(options)
    except RwkvError as error:
        if options.json:
            print(as_json({"error": {"what": error.what, **error.details}, "exit_code": error.exit_code}))
        raise
    except OSError as error:
        if options.json:
            print(as_json({"error": {"what": str(error)}, "exit_code": RwkvError.exit_code}))
        raise
    text = as_json(answer.fields) if options.json else printable(answer.text)
    if text:
        print(text)
    return answer.exit_code
