"""Command: histories into a compact store. `python -m rwkv.data_processing --config FILE`."""

import argparse
import sys
from pathlib import Path

from rwkv.commands.process_data import NAME, process_data
from rwkv.config import ProcessDataConfig, load_config
from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/data_processing_*.toml")
    options = parser.parse_args(arguments)
    return run_command(lambda: process_data(load_config(options.config, ProcessDataConfig)))


if __name__ == "__main__":
    sys.exit(main())
