"""Command: users' reviews in order, one at a time. `python -m rwkv.run_as_rnn --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # These take a while, and Ctrl-C is heard by now.
    from rwkv.benchmark.many_users import run_many_users
    from rwkv.benchmark.single_user import NAME, run_single_user
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import RecurrentConfig

    parser = config_parser(NAME, __doc__, "run_as_rnn_*.toml")
    parser.add_argument("--memory", type=int, help="bytes of states that are held; goes before MEMORY")
    options = parser.parse_args(arguments)
    flags = {} if options.memory is None else {"memory": options.memory}
    config = configured(options, RecurrentConfig, **flags)
    return run_many_users(config) if config.user is None else run_single_user(config)


if __name__ == "__main__":
    sys.exit(main())
