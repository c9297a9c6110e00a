"""A command that writes after every few users or steps, so that a kill falls into many places of its work.

python -m bench.kills.often MODULE ARGUMENTS
"""

import importlib
import sys

from rwkv.stopping import leave

# Command -> the module with its numbers of users, rows or steps between two writes, and smaller ones.
_OFTEN = {
    "rwkv.find_equalize_test_reviews": ("rwkv.benchmark.databases", {"_BATCH": 2}),
    "rwkv.data_processing": ("rwkv.benchmark.databases", {"_BATCH": 2}),
    "rwkv.train_rwkv": ("rwkv.benchmark.training_steps", {"_FIRST_CHECKPOINT": 5, "_STEPS_BETWEEN_CHECKPOINTS": 5}),
    "rwkv.get_result": ("rwkv.benchmark.evaluate", {"_ROWS_TOGETHER": 400}),
}


def main() -> int:
    """Run the command. Returns its exit code."""
    name, *arguments = sys.argv[1:]
    place, numbers = _OFTEN[name]
    module = importlib.import_module(place)
    for constant, value in numbers.items():
        getattr(module, constant)  # fails if it was renamed
        setattr(module, constant, value)
    return importlib.import_module(name).main(arguments)


if __name__ == "__main__":
    leave(main())
