"""The forgetting curve, a mixture of exponential curves with corrections (spec 4): the definition.

The kernels are native/curve.py, triton/curve_rows.py and, with the heads, triton/heads.py.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rwkv.forgetting_curve import CORRECTIONS, CURVES, STABILITIES, floored
from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.triton.arguments import CurveGrid

# Added to a mean square, whose root has no derivative at 0.
_LEAST_SQUARE = 1e-16


class CurveLogits(NamedTuple):
    """Logits of recall, [N].

    Attributes:
        raw: Of the mixture of curves R(t).
        corrected: Of the final probability p(t).
    """

    raw: Tensor
    corrected: Tensor


class CurveRows(NamedTuple):
    """What the loss reads of rows, [N] each.

    Attributes:
        raw: Logit of the mixture of curves R(t).
        corrected: Logit of the final probability p(t).
        divergence: The mean over curves i of u (ln u - ln w_i), where u = 1 / number of curves.
        magnitude: Root mean square of the corrections.
        roughness: Root mean square of the differences of neighbouring corrections.
    """

    raw: Tensor
    corrected: Tensor
    divergence: Tensor
    magnitude: Tensor
    roughness: Tensor


def curve_stabilities(device: torch.device) -> Tensor:
    """The stabilities of the curves in seconds, float64 [128]."""
    return STABILITIES.seconds(_numbers(device), torch.expm1)


def correction_points(device: torch.device) -> Tensor:
    """The times of the corrections in seconds, float64 [128]."""
    return CORRECTIONS.seconds(_numbers(device), torch.expm1)


def _numbers(device: torch.device) -> Tensor:
    return torch.arange(CURVES, dtype=torch.float64, device=device)


@cache
@torch.inference_mode(False)  # training may later use a tensor that evaluation cached
def curve_grid(device: torch.device) -> CurveGrid:
    """The fixed numbers of the forgetting curve on a device."""
    stabilities = curve_stabilities(device)
    return CurveGrid(log_recall(torch.ones_like(stabilities), stabilities, torch.float32), correction_points(device))


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


def curve_rows(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor) -> CurveRows:
    """What the loss reads of rows; the arguments are those of `curve_logits`.

    Source: Spec 5.
    """
    if w_logits.dtype == torch.float32 and kernels_for(w_logits, ahead_logits) is Kernels.TRITON:
        return CurveRows(*_CurveRows.apply(w_logits, ahead_logits, elapsed_s).unbind())
    return curve_rows_reference(w_logits, ahead_logits, elapsed_s)


def curve_rows_reference(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor) -> CurveRows:
    """The definition of `curve_rows`."""
    u = 1 / w_logits.shape[-1]
    return CurveRows(
        *curve_logits(w_logits, ahead_logits, elapsed_s),
        divergence=(u * (math.log(u) - w_logits.log_softmax(-1))).mean(-1),
        magnitude=_root_mean_square(ahead_logits),
        roughness=_root_mean_square(ahead_logits.diff(dim=-1)),
    )


def _root_mean_square(x: Tensor) -> Tensor:
    return (_LEAST_SQUARE + x.square().mean(-1)).sqrt()


class _CurveRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w_logits: Tensor, ahead_logits: Tensor, elapsed_s: Tensor) -> Tensor:
        from rwkv.ops.triton import curve_rows as on_gpu  # Triton exists only with a GPU

        given = w_logits.contiguous(), ahead_logits.contiguous(), elapsed_s
        numbers = on_gpu.curve_rows(*given, curve_grid(w_logits.device), _LEAST_SQUARE)
        ctx.save_for_backward(*given, numbers)
        return numbers

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from rwkv.ops.triton import curve_rows as on_gpu

        w_logits, ahead_logits, elapsed_s, numbers = ctx.saved_tensors
        logits, grid = (w_logits, ahead_logits), curve_grid(numbers.device)
        return *on_gpu.curve_rows_backward(*logits, elapsed_s, grid, numbers, gradients[0].contiguous()), None
