"""Access to the native library; no other file imports rwkv._native."""

from functools import cache
from typing import Any

import numpy as np

from rwkv.runtime import log

# Channels of a head that the kernels support.
HEAD_WIDTHS = (16, 32, 64)

OPERATORS = (
    "channel_mix_backward",
    "channel_mix_forward",
    "curve_recall",
    "hash_dropout",
    "network_rows",
    "network_step",
    "pack_network",
    "time_mix_backward",
    "time_mix_forward",
    "wkv_backward",
    "wkv_forward",
)


@cache
def is_built() -> bool:
    """Whether the library is built and loads; without it everything runs in PyTorch."""
    try:
        module = native()
    except ImportError:
        return False
    if not all(hasattr(module, name) for name in OPERATORS):
        command = "`pip install --no-build-isolation -e .`"
        log.warning("the native kernels are older than the code, so PyTorch runs instead; rebuild them: %s", command)
        return False
    return True


@cache
def native() -> Any:
    """The library, whose functions take objects with the buffer protocol and return such objects."""
    import rwkv._native  # may be missing

    return rwkv._native


def arrays(results: list[Any]) -> list[np.ndarray[Any, Any]]:
    """The results of a function of the library as arrays, without a copy."""
    return [np.asarray(result) for result in results]
