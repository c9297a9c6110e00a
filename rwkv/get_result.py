"""Evaluate a model on whole users. Command: `python -m rwkv.get_result --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.evaluate import NAME, evaluate
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import EvaluateConfig

    parser = config_parser(NAME, __doc__, "get_result_config*.toml", EvaluateConfig)
    options = parser.parse_args(arguments)
    return evaluate(configured(options, EvaluateConfig))


if __name__ == "__main__":
    sys.exit(main())
