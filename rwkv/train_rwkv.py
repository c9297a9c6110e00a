"""Train the network. Command: `python -m rwkv.train_rwkv --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.train import NAME, train
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import TrainConfig

    parser = config_parser(NAME, __doc__, "train_rwkv_config*.toml", TrainConfig)
    options = parser.parse_args(arguments)
    return train(configured(options, TrainConfig))


if __name__ == "__main__":
    sys.exit(main())
