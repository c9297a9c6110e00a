"""Command: train the network. `python -m rwkv.train_rwkv --config FILE`."""

import argparse
import sys
from pathlib import Path

from rwkv.commands.train import NAME, train
from rwkv.config import TrainConfig, load_config
from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/train_rwkv_config*.toml")
    options = parser.parse_args(arguments)
    return run_command(lambda: train(load_config(options.config, TrainConfig)))


if __name__ == "__main__":
    sys.exit(main())
