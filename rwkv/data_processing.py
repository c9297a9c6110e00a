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
    from rwkv.config import ProcessDataConfig

    parser = config_parser(PROCESS_DATA, __doc__, "data_processing_*.toml", ProcessDataConfig)
    options = parser.parse_args(arguments)
    return process_data(configured(options, ProcessDataConfig))


if __name__ == "__main__":
    sys.exit(main())
