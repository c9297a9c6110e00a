"""From a row's outputs to probabilities: the forgetting curve (RWKV) and the immediate prediction (RWKV-P) (spec 4)."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rwkv.model.heads import columns_of
from rwkv.model.spec import CURVES
from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.cpu.curve_recall import curve_recall

FLOOR = 1e-5
_RANGE = 18.5
_AGAIN = 0


class CurveLogits(NamedTuple):
    """Logits of recall [N]: `raw` of the mixture of curves R(t), `corrected` of the final p(t)."""

    raw: Tensor
    corrected: Tensor


def _exponential_grid(device: torch.device, scale: float) -> Tensor:
    """(e^(18.5 i / 127) - 1) * e^scale for i = 0..127, float64."""
    steps = torch.arange(CURVES, dtype=torch.float64, device=device) * (_RANGE / (CURVES - 1))
    return torch.expm1(steps) * math.exp(scale)


def curve_stabilities(device: torch.device) -> Tensor:
    """Stabilities s_i of the 128 curves in seconds, float64 [128]: recall by curve i falls to 0.9 after s_i."""
    return 0.1 + _exponential_grid(device, 3.5)


def correction_points(device: torch.device) -> Tensor:
    """The times x_i in seconds, float64 [128], at which the corrections are given."""
    return 0.5 + _exponential_grid(device, 2.5)


def curve_logits(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor) -> CurveLogits:
    """Recall at `elapsed_s` [N] seconds (at least 1) after rows with w_logits, ahead_logits [N, 128], float32 or wider.

    Beyond the last point, 41.8 years, the last correction holds.
    """
    t = elapsed_s.to(torch.float64).clamp(min=1.0)
    weights = w_logits.softmax(-1)
    exponent = log_recall(t[:, None], curve_stabilities(t.device), weights.dtype)
    # Recall and its complement each from their own sum: a difference from 1 would lose what matters near 1.
    raw = _logit((weights * exponent.exp()).sum(-1), -(weights * torch.expm1(exponent)).sum(-1))
    left, right, share = _between(t, ahead_logits.dtype)
    at_left, at_right = (ahead_logits.gather(1, index[:, None]).squeeze(1) for index in (left, right))
    return CurveLogits(raw, _corrected(raw, at_left + share * (at_right - at_left)))


@torch.inference_mode()
def recall_at(outputs: Tensor, elapsed_s: Tensor) -> Tensor:
    """The same as `recall` of all rows [N] at all times [T] at once, float32 [N, T], within rounding."""
    t = elapsed_s.to(torch.float64).clamp(min=1.0)
    w_logits, ahead_logits = columns_of(outputs, "w_logits"), columns_of(outputs, "ahead_logits")
    weights = w_logits.softmax(-1)
    exponent = log_recall(t, curve_stabilities(t.device)[:, None], weights.dtype)
    raw = _logit(weights @ exponent.exp(), -(weights @ torch.expm1(exponent)))
    left, right, share = _between(t, ahead_logits.dtype)
    at_left, at_right = ahead_logits[:, left], ahead_logits[:, right]
    return _corrected(raw, at_left + share * (at_right - at_left)).sigmoid()


def log_recall(t: Tensor, stabilities: Tensor, dtype: torch.dtype) -> Tensor:
    """ln of recall by each curve after t seconds."""
    return (t / stabilities * math.log(0.9)).to(dtype)


def _logit(kept: Tensor, lost: Tensor) -> Tensor:
    """Of recall by the mixture of curves, given the mean of what they keep and of what they lose."""
    return (FLOOR + (1 - 2 * FLOOR) * kept).log() - (FLOOR + (1 - 2 * FLOOR) * lost).log()


def _corrected(raw: Tensor, correction: Tensor) -> Tensor:
    return raw + FLOOR + (1 - 2 * FLOOR) * correction


@torch.inference_mode()
def recall(outputs: Tensor, elapsed_s: Tensor) -> Tensor:
    """Probability of recall by `curve_logits`, float32 [N], without gradient.

    outputs: [N, 256 or more], w_logits and ahead_logits side by side.
    """
    if kernels_for(outputs) is Kernels.NATIVE:
        return curve_recall(outputs.contiguous(), elapsed_s.to(torch.float64), *_cpu_grid(), FLOOR)
    w_logits, ahead_logits = columns_of(outputs, "w_logits"), columns_of(outputs, "ahead_logits")
    return curve_logits(w_logits, ahead_logits, elapsed_s).corrected.sigmoid()


@cache
def _cpu_grid() -> tuple[Tensor, Tensor]:
    device = torch.device("cpu")
    return curve_stabilities(device), correction_points(device)


def _between(t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The points left and right of times t, and how far between them: the last ones beyond the last point."""
    points = correction_points(t.device)
    t = t.clamp(max=points[-1])
    right = torch.searchsorted(points, t).clamp(1, CURVES - 1)
    left = right - 1
    return left, right, ((t - points[left]) / (points[right] - points[left])).to(dtype)


def immediate_recall(p_logits: Tensor) -> Tensor:
    """RWKV-P [N] from the rating logits [N, 4] of query rows."""
    return (1 - p_logits.softmax(-1)[:, _AGAIN]).clamp(FLOOR, 1 - FLOOR)
