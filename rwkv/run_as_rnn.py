"""Predict users' reviews one at a time, in order. Command: `python -m rwkv.run_as_rnn --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.many_users import run_many_users
    from rwkv.benchmark.single_user import NAME, run_single_user
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import RecurrentConfig

    parser = config_parser(NAME, __doc__, "run_as_rnn_*.toml", RecurrentConfig)
    parser.add_argument("--memory", type=int, help="bytes of states to keep in memory; overrides MEMORY")
    options = parser.parse_args(arguments)
    flags = {} if options.memory is None else {"memory": options.memory}
    config = configured(options, RecurrentConfig, **flags)
    return run_many_users(config) if config.user is None else run_single_user(config)


if __name__ == "__main__":
    sys.exit(main())
