"""Write review histories into a compact store. Command: `python -m rwkv.data_processing --config FILE`."""

import sys
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.databases import PROCESS_DATA
    from rwkv.benchmark.process_data import process_data
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.command_line.engine_options import add_engine, pool_of
    from rwkv.config import ProcessDataConfig

    parser = config_parser(PROCESS_DATA, __doc__, "data_processing_*.toml", ProcessDataConfig)
    add_engine(parser)
    options = parser.parse_args(arguments)
    config = configured(options, ProcessDataConfig)
    with pool_of(options, config.processes, [config.data_path, config.label_filter_lmdb_path]) as pool:
        return process_data(config, pool)


if __name__ == "__main__":
    sys.exit(main())
