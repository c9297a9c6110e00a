"""Command: predictions and metrics of whole users. `python -m rwkv.get_result --config FILE`."""

import argparse
import sys
from functools import partial
from pathlib import Path

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # These take a while, and Ctrl-C is heard by now.
    from rwkv.commands.evaluate import NAME, evaluate
    from rwkv.config import EvaluateConfig, load_config

    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/get_result_config*.toml")
    options = parser.parse_args(arguments)
    return evaluate(load_config(options.config, EvaluateConfig))


if __name__ == "__main__":
    sys.exit(main())
