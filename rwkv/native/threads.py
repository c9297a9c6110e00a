"""The threads of the native kernels."""

import os
import re
from functools import cache


@cache
def available() -> int:
    """The number of threads: OMP_NUM_THREADS if it is 1 to 9999, else the cores that this process may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if re.fullmatch(r"0*[1-9][0-9]{0,3}", stated):
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
