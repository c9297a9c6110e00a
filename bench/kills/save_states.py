"""Feed a history to an engine and save its states every few reviews, starting from those saved before.

python -m bench.kills.save_states DATA WEIGHTS FILE
"""

import sys
from functools import partial
from pathlib import Path

from rwkv.runtime import run_command

USER = 1
_REVIEWS_BETWEEN_SAVES = 4


def main() -> int:
    """Run the program. Returns the exit code."""
    data, weights, file = map(Path, sys.argv[1:])
    return run_command(partial(_run, data, weights, file))


def _run(data: Path, weights: Path, file: Path) -> int:
    from rwkv.data.revlogs import read_history
    from rwkv.recurrent.engine import Engine

    history = read_history(data, USER)
    engine = Engine.load(weights, user=USER)
    if file.is_file():
        engine.restore(file, history)
    while engine.reviews < len(history):
        engine.feed(history.part(slice(engine.reviews, engine.reviews + _REVIEWS_BETWEEN_SAVES)))
        engine.save(file)
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
