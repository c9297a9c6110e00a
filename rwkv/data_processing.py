"""Command: histories into a compact store. `python -m rwkv.data_processing --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # These take a while, and Ctrl-C is heard by now.
    from rwkv.command_line.configured import config_parser, configured
    from rwkv.commands.process_data import NAME, process_data
    from rwkv.config import ProcessDataConfig

    parser = config_parser(NAME, __doc__, "data_processing_*.toml")
    options = parser.parse_args(arguments)
    return process_data(configured(options, ProcessDataConfig))


if __name__ == "__main__":
    sys.exit(main())
