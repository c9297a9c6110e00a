"""The threads of the native kernels."""

import os
from functools import cache


@cache
def available() -> int:
    """The number of threads: OMP_NUM_THREADS if it is set, else the cores that this process may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if stated.isascii() and stated.isdecimal() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
