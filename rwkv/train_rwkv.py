"""Train the network. Command: `python -m rwkv.train_rwkv --config FILE`.

On several GPUs: `torchrun --nproc-per-node GPUS -m rwkv.train_rwkv --config FILE`.
"""

import os
from functools import partial

from rwkv.runtime import run_command
from rwkv.stopping import is_one_of_several, leave


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    return run_command(partial(_run, arguments))


def _run(arguments: list[str] | None) -> int:
    if is_one_of_several():  # PyTorch's warnings of lost connections have pages
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Slow imports; Ctrl-C is handled by now.
    from rwkv.benchmark.train import NAME, train
    from rwkv.command_line.config_options import config_parser, configured
    from rwkv.config import TrainConfig
    from rwkv.training.processes import training_processes

    parser = config_parser(NAME, __doc__, "train_rwkv_config*.toml", TrainConfig)
    options = parser.parse_args(arguments)
    with training_processes() as processes:
        return train(configured(options, TrainConfig), processes)


if __name__ == "__main__":
    leave(main())
