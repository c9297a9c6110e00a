"""Command: predictions and metrics of whole users. `python -m rwkv.get_result --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # These take a while, and Ctrl-C is heard by now.
    from rwkv.benchmark.evaluate import NAME, evaluate
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import EvaluateConfig

    parser = config_parser(NAME, __doc__, "get_result_config*.toml")
    options = parser.parse_args(arguments)
    return evaluate(configured(options, EvaluateConfig))


if __name__ == "__main__":
    sys.exit(main())
