"""Timing, and the closing line of every benchmark: its figures with machine, versions and commit."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str | int | float]:
    """The machine's processor, cores and load, the versions of Python, PyTorch and NumPy, and the commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
        "commit": _commit(),
    }


def timed(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Call `run` `repeats` times: median, minimum and maximum of its seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}


def clocked(run: Callable[[], object]) -> tuple[float, float]:
    """The wall-clock seconds and the processor seconds of `run`."""
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - start_cpu


def print_json(name: str, figures: dict[str, object]) -> None:
    """Print the closing line of a benchmark."""
    print(json.dumps({"benchmark": name, **figures, "environment": environment()}))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    return result.stdout.strip()
