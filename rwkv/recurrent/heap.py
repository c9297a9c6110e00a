"""How the C library keeps memory: what a pass has used goes back to the system, and does not stay among the states."""

import ctypes
from functools import cache

# glibc's numbers of the options; from which size on blocks are the system's own, and how much may lie free at the end
# of the heap. A layer's states take less: to get such a block from the system takes as long as to fill it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGE, _SPARE = 16 << 20, 64 << 20


@cache
def large_blocks_apart() -> None:
    """Have blocks of 16 megabytes and more returned to the system when they are freed, in this process from now on.

    glibc otherwise raises that size with each large block that is freed, up to 32 MB: then states that stay lie between
    what passes have used, which can no longer be returned. Other C libraries are left as they are.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_MMAP_THRESHOLD, _LARGE)
        option(_TRIM_THRESHOLD, _SPARE)
