"""From nothing to a report: an empty environment, the wheel, and the person's commands on a learner's history as CSV.

The history is simulated. Each command runs in a process of its own, the first of them without a cache.

python -m bench.from_nothing WHEEL [--reviews 7000] [--repeats 7]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.histories import simulated_history
from bench.report import print_json, timed
from rwkv.data.history import RevlogTable, estimated_times

# The end of the history, before this moment.
_END_S = 1_700_000_000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--reviews", type=int, default=7000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    table = simulated_history(options.reviews)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "learner.csv", table)
        figures = {"reviews": len(table), "cards": len(table.cards.note), "wheel_mb": _megabytes(options.wheel)}
        print_json("from_nothing", figures | _measured(folder, options.wheel.resolve(), options.repeats))


def write_csv(path: Path, table: RevlogTable) -> None:
    """Write a history in the format of fsrs-optimizer, with estimated times."""
    time_s = estimated_times(table)
    time_ms = (time_s - time_s[-1] + _END_S) * 1000
    rows = zip(table.card.tolist(), time_ms.tolist(), table.rating.tolist(), table.duration_ms.tolist(), strict=True)
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("card_id,review_time,review_rating,review_duration\n" + "\n".join(lines) + "\n")


def _measured(folder: Path, wheel: Path, repeats: int) -> dict[str, object]:
    seconds = {
        "venv": _run(folder, sys.executable, "-m", "venv", "venv"),
        "install": _run(folder, "venv/bin/python", "-m", "pip", "install", "--quiet", str(wheel)),
    }
    for command in ("report", "predict", "schedule"):
        seconds[command] = _run(folder, "venv/bin/rwkv", command, "learner.csv")
    return {
        "seconds": seconds,
        "from_nothing_to_report_s": seconds["venv"] + seconds["install"] + seconds["report"],
        "help": timed(lambda: _run(folder, "venv/bin/rwkv", "--help"), repeats),
        "environment_mb": sum(_megabytes(file) for file in (folder / "venv").rglob("*") if not file.is_symlink()),
    }


def _run(folder: Path, *command: str) -> float:
    """The seconds that a command takes."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("PYTHONPATH", None)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1e6 if file.is_file() else 0.0


if __name__ == "__main__":
    main()
