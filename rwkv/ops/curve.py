"""The forgetting curve, a mixture of exponential curves with corrections (spec 4): the definition.

The kernels are native/curve.py and, with the heads, triton/heads.py.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rwkv.forgetting_curve import CORRECTIONS, CURVES, STABILITIES, floored


class CurveLogits(NamedTuple):
    """Logits of recall, [N].

    Attributes:
        raw: Of the mixture of curves R(t).
        corrected: Of the final probability p(t).
    """

    raw: Tensor
    corrected: Tensor


def curve_stabilities(device: torch.device) -> Tensor:
    """The stabilities of the curves in seconds, float64 [128]."""
    return STABILITIES.seconds(_numbers(device), torch.expm1)


def correction_points(device: torch.device) -> Tensor:
    """The times of the corrections in seconds, float64 [128]."""
    return CORRECTIONS.seconds(_numbers(device), torch.expm1)


def _numbers(device: torch.device) -> Tensor:
    return torch.arange(CURVES, dtype=torch.float64, device=device)


def curve_logits(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor) -> CurveLogits:
    """The logits of recall some time after review rows.

    Args:
        w_logits: Logits of the curves' weights, float32 or wider [N, 128].
        ahead_logits: Corrections, float32 or wider [N, 128].
        elapsed_s: Seconds after each row, [N]; less than 1 counts as 1. Beyond the last point, 41.8 years, the last
            correction holds.

    Source: Spec 4.
    """
    t = elapsed_s.to(torch.float64).clamp(min=1.0)
    weights = w_logits.softmax(-1)
    exponent = log_recall(t[:, None], curve_stabilities(t.device), weights.dtype)
    # Sum recall and its complement separately, since a difference from 1 would lose precision near 1.
    raw = _logit((weights * exponent.exp()).sum(-1), -(weights * torch.expm1(exponent)).sum(-1))
    left, right, share = _between(t, ahead_logits.dtype)
    at_left, at_right = (ahead_logits.gather(1, index[:, None]).squeeze(1) for index in (left, right))
    return CurveLogits(raw, raw + floored(at_left + share * (at_right - at_left)))


def log_recall(t: Tensor, stabilities: Tensor, dtype: torch.dtype) -> Tensor:
    """The natural logarithm of recall by each curve after t seconds."""
    return (t / stabilities * math.log(0.9)).to(dtype)


def _logit(kept: Tensor, lost: Tensor) -> Tensor:
    """The logit of recall by the mixture of curves, from its mean recall `kept` and its complement `lost`."""
    return floored(kept).log() - floored(lost).log()


def _between(t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The indices of the points left and right of times t, and the share of the way between them."""
    points = correction_points(t.device)
    t = t.clamp(max=points[-1])
    right = torch.searchsorted(points, t).clamp(1, CURVES - 1)
    left = right - 1
    return left, right, ((t - points[left]) / (points[right] - points[left])).to(dtype)
