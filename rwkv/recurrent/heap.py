"""How the C library keeps memory: what a pass has used goes back to the system, and does not stay among the states."""

import ctypes
from functools import cache

# glibc's number of the option, and from which size on blocks are the system's own.
_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


@cache
def large_blocks_apart() -> None:
    """Have blocks of a megabyte and more returned to the system when they are freed, in this process from now on.

    glibc otherwise raises that size with each large block that is freed, up to 32 MB: then states that stay lie between
    what passes have used, which can no longer be returned. Other C libraries are left as they are.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_MMAP_THRESHOLD, _LARGE)
