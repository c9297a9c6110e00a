"""Evaluate a model on whole users. Command: `python -m rwkv.get_result --config FILE`."""

import sys
from dataclasses import replace
from functools import partial

from rwkv.runtime import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.evaluate import NAME, evaluate
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.command_line.engine_options import add_engine, pool_of
    from rwkv.config import EvaluateConfig
    from rwkv.errors import ConfigError

    parser = config_parser(NAME, __doc__, "get_result_config*.toml", EvaluateConfig)
    add_engine(parser)
    options = parser.parse_args(arguments)
    config = configured(options, EvaluateConfig)
    kind = config.all_devices[0].partition(":")[0]
    if options.engine != "local":
        if config.devices:
            hint = "leave DEVICES out; DEVICE says whether a task of the cluster gets a GPU"
            raise ConfigError("DEVICES are those of one machine.", where=f"--engine {options.engine}", hint=hint)
        config = replace(config, device=kind)
    paths = [config.model_path, config.dataset_lmdb_path, config.label_filter_lmdb_path]
    with pool_of(
        options, len(config.all_devices), paths, cpus=max(1, config.threads), gpus=int(kind == "cuda")
    ) as pool:
        return evaluate(config, pool)


if __name__ == "__main__":
    sys.exit(main())
