"""The `rwkv` command. Its arguments are defined in rwkv.command_line."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    from rwkv.command_line.parser import run  # a slow import; Ctrl-C is handled by now

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
