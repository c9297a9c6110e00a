"""Command: predictions and metrics of whole users. `python -m rwkv.get_result --config FILE`."""

import argparse
import sys
from pathlib import Path

from rwkv.commands.evaluate import NAME, evaluate
from rwkv.config import EvaluateConfig, load_config
from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/get_result_config*.toml")
    options = parser.parse_args(arguments)
    return run_command(lambda: evaluate(load_config(options.config, EvaluateConfig)))


if __name__ == "__main__":
    sys.exit(main())
