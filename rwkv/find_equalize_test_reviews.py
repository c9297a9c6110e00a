"""Command: which reviews the benchmark counts. `python -m rwkv.find_equalize_test_reviews --config FILE`."""

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
    from rwkv.commands.find_keys import NAME, find_keys
    from rwkv.config import FindKeysConfig, load_config

    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a TOML file, see rwkv/find_equalize_*.toml")
    parser.add_argument("--short", action="store_true", help="count same-day reviews; the same as SHORT = true")
    parser.add_argument("--secs", action="store_true", help="intervals in fractions of a day; the same as SECS = true")
    options = parser.parse_args(arguments)
    flags = {name: True for name in ("short", "secs") if getattr(options, name)}
    return find_keys(load_config(options.config, FindKeysConfig, **flags))


if __name__ == "__main__":
    sys.exit(main())
