"""Command: train the network. `python -m rwkv.train_rwkv --config FILE`."""

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
    from rwkv.commands.train import NAME, train
    from rwkv.config import TrainConfig, load_config

    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/train_rwkv_config*.toml")
    options = parser.parse_args(arguments)
    return train(load_config(options.config, TrainConfig))


if __name__ == "__main__":
    sys.exit(main())
