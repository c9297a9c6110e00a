"""Dropout by a hash, defined by `rwkv.ops.dropout.dropout_reference`."""

import numpy as np

from rwkv.arrays import Float32s, Ints
from rwkv.native.library import native


def hash_dropout(
    x: Float32s, threshold: int, scale: float, seed: Ints, site: int, residual: Float32s | None, threads: int
) -> Float32s:
    """Zero the entries whose hash is below a threshold, scale the others, then add `residual`.

    Args:
        x: Rows, float32 [..., width].
        threshold: 0 to 2^32 - 1.
        scale: Factor of the entries that stay.
        seed: int64 [1], see `rwkv.ops.dropout.hash_dropout`.
        site: Number of the use within a step.
        residual: As x, or None.
        threads: Most threads.
    """
    return np.asarray(native().hash_dropout(x, threshold, scale, seed, site, residual, threads))
