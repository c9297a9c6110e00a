"""The forgetting curve, defined by `rwkv.ops.curve.curve_logits`."""

import numpy as np

from rwkv.arrays import Float32s, Floats
from rwkv.native.library import native


def curve_recall(
    curves: Float32s, elapsed_s: Floats, stabilities: Floats, points: Floats, floor: float, threads: int
) -> Float32s:
    """The probability of recall some time after each row, float32 [N].

    Args:
        curves: Joined outputs of the heads, float32 [N, outputs]: w_logits and ahead_logits of n curves come first.
        elapsed_s: Seconds after each row, float64 [N]; less than 1 counts as 1.
        stabilities: Stabilities of the curves in seconds, float64 [n].
        points: Correction points in seconds, float64 [n].
        floor: Distance of probabilities from 0 and 1.
        threads: Most threads.
    """
    return np.asarray(native().curve_recall(curves, elapsed_s, stabilities, points, floor, threads))
