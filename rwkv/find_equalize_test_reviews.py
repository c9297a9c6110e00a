"""Find the reviews that the benchmark counts. Command: `python -m rwkv.find_equalize_test_reviews --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.databases import FIND_KEYS
    from rwkv.benchmark.find_keys import delete_keys, find_keys
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.command_line.engine_options import add_engine, pool_of
    from rwkv.config import FindKeysConfig

    parser = config_parser(FIND_KEYS, __doc__, "find_equalize_*.toml", FindKeysConfig)
    parser.add_argument("--short", action="store_true", help="count same-day reviews, too; same as SHORT = true")
    parser.add_argument(
        "--secs", action="store_true", help="measure intervals in fractions of a day; same as SECS = true"
    )
    parser.add_argument("--delete", action="store_true", help="delete all keys with LABEL_FILTER_KEY_PREFIX instead")
    add_engine(parser)
    options = parser.parse_args(arguments)
    flags = {name: True for name in ("short", "secs") if getattr(options, name)}
    config = configured(options, FindKeysConfig, **flags)
    if options.delete:
        return delete_keys(config)
    with pool_of(options, config.processes, [config.data_path]) as pool:
        return find_keys(config, pool)


if __name__ == "__main__":
    sys.exit(main())
