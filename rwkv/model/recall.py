"""Probabilities from joined outputs of the heads as arrays: the forgetting curve and the rating logits (spec 4).

`rwkv.ops.curve` defines the curve, for tensors.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s, Floats, Ints
from rwkv.forgetting_curve import CORRECTIONS, CURVES, FLOOR, STABILITIES, floored
from rwkv.model.columns import columns_of
from rwkv.native.curve import curve_recall
from rwkv.native.library import is_built
from rwkv.native.threads import available

_AGAIN = 0


@cache
def curve_stabilities() -> Floats:
    """The stabilities of the curves in seconds, float64 [128]."""
    return STABILITIES.seconds(np.arange(CURVES, dtype=np.float64), np.expm1)


@cache
def correction_points() -> Floats:
    """The times of the corrections in seconds, float64 [128]."""
    return CORRECTIONS.seconds(np.arange(CURVES, dtype=np.float64), np.expm1)


def recall(outputs: Float32s, elapsed_s: npt.ArrayLike) -> Float32s:
    """The probability of recall some time after review rows.

    Args:
        outputs: Joined outputs of the heads, [N, outputs].
        elapsed_s: Seconds after each row, [N]; less than 1 counts as 1. Beyond the last point, 41.8 years, the last
            correction holds.

    Returns:
        The probability of recall by `rwkv.ops.curve.curve_logits`, float32 [N].
    """
    seconds = np.ascontiguousarray(elapsed_s, np.float64)
    if not is_built():
        return recall_plain(outputs, seconds)
    grid = curve_stabilities(), correction_points()
    return curve_recall(np.ascontiguousarray(outputs), seconds, *grid, FLOOR, available())


def recall_plain(outputs: Float32s, elapsed_s: Floats) -> Float32s:
    """As `recall`, by NumPy alone."""
    t = np.maximum(elapsed_s, 1.0)
    weights = softmax(columns_of(outputs, "w_logits"))
    exponent = log_recall(t[:, None], curve_stabilities())
    raw = _logit((weights * np.exp(exponent)).sum(-1), -(weights * np.expm1(exponent)).sum(-1))
    left, right, share = _between(t)
    rows, corrections = np.arange(len(outputs)), columns_of(outputs, "ahead_logits")
    at_left, at_right = corrections[rows, left], corrections[rows, right]
    return _corrected(raw, at_left, at_right, share)


def recall_at(outputs: Float32s, elapsed_s: Floats) -> Float32s:
    """The recall after every row at every time; equals `recall` within rounding.

    Args:
        outputs: Joined outputs of the heads, [N, outputs].
        elapsed_s: Seconds, [t].

    Returns:
        The probability of recall, float32 [N, t].
    """
    t = np.maximum(elapsed_s, 1.0)
    weights, corrections = softmax(columns_of(outputs, "w_logits")), columns_of(outputs, "ahead_logits")
    exponent = log_recall(t, curve_stabilities()[:, None])
    # Sum recall and its complement separately, since a difference from 1 would lose precision near 1.
    raw = _logit(weights @ np.exp(exponent), -(weights @ np.expm1(exponent)))
    left, right, share = _between(t)
    at_left, at_right = corrections[:, left], corrections[:, right]
    return _corrected(raw, at_left, at_right, share)


def log_recall(t: Floats, stabilities: Floats) -> Float32s:
    """The natural logarithm of recall by each curve after t seconds."""
    return (t / stabilities * math.log(0.9)).astype(np.float32)


def softmax(logits: Float32s) -> Float32s:
    """Probabilities [N, n] from logits [N, n]."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Float32s = exponentials / exponentials.sum(-1, keepdims=True)
    return shares


def immediate_recall(ratings: Float32s) -> Float32s:
    """The recall by RWKV-P, [N], from the probabilities of the ratings [N, 4]."""
    return np.clip(1 - ratings[:, _AGAIN], FLOOR, 1 - FLOOR)


def _logit(kept: Float32s, lost: Float32s) -> Float32s:
    """The logit of recall by the mixture of curves, from its mean recall `kept` and its complement `lost`."""
    return np.log(floored(kept)) - np.log(floored(lost))


def _between(t: Floats) -> tuple[Ints, Ints, Float32s]:
    """The indices of the points left and right of times t, and the share of the way between them."""
    points = correction_points()
    t = np.minimum(t, points[-1])
    right = np.clip(np.searchsorted(points, t), 1, CURVES - 1)
    left = right - 1
    return left, right, ((t - points[left]) / (points[right] - points[left])).astype(np.float32)


def _corrected(raw: Float32s, at_left: Float32s, at_right: Float32s, share: Float32s) -> Float32s:
    """Recall from the mixture's logit and the corrections at the points left and right of the time."""
    return _sigmoid(raw + floored(at_left + share * (at_right - at_left)))


def _sigmoid(logits: Float32s) -> Float32s:
    with np.errstate(over="ignore"):  # e^x may be infinite; then the result is 0
        p: Float32s = np.reciprocal(1 + np.exp(-logits))
    return p
