"""The `rwkv` command. What it takes is in rwkv.command_line."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    from rwkv.command_line.parser import run  # takes a while, and Ctrl-C is heard by now

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
