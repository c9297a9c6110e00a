"""Probabilities from a row's outputs: the forgetting curve (RWKV) and the immediate prediction (RWKV-P) (spec 4)."""

from functools import cache

import torch
from torch import Tensor

from rwkv.model.heads import columns_of
from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.cpu.curve_recall import curve_recall

# Other layers take the definition from here.
from rwkv.ops.curve import FLOOR, recall_at_times
from rwkv.ops.curve import correction_points as correction_points
from rwkv.ops.curve import curve_logits as curve_logits
from rwkv.ops.curve import curve_stabilities as curve_stabilities

_AGAIN = 0


@torch.inference_mode()
def recall_at(outputs: Tensor, elapsed_s: Tensor) -> Tensor:
    """The recall after every row at every time; equals `recall` within rounding.

    Args:
        outputs: Joined outputs of the heads, [N, outputs].
        elapsed_s: Seconds, [t].

    Returns:
        The probability of recall, float32 [N, t].
    """
    return recall_at_times(columns_of(outputs, "w_logits"), columns_of(outputs, "ahead_logits"), elapsed_s)


@torch.inference_mode()
def recall(outputs: Tensor, elapsed_s: Tensor) -> Tensor:
    """The probability of recall some time after review rows, without gradient.

    Args:
        outputs: Joined outputs of the heads, [N, outputs].
        elapsed_s: Seconds after each row, [N].

    Returns:
        The probability of recall by `curve_logits`, float32 [N].
    """
    if kernels_for(outputs) is Kernels.NATIVE:
        return curve_recall(outputs.contiguous(), elapsed_s.to(torch.float64), *_cpu_grid(), FLOOR)
    w_logits, ahead_logits = columns_of(outputs, "w_logits"), columns_of(outputs, "ahead_logits")
    return curve_logits(w_logits, ahead_logits, elapsed_s).corrected.sigmoid()


@cache
def _cpu_grid() -> tuple[Tensor, Tensor]:
    device = torch.device("cpu")
    return curve_stabilities(device), correction_points(device)


def immediate_recall(p_logits: Tensor) -> Tensor:
    """The recall by RWKV-P, [N], from the rating logits [N, 4] of query rows."""
    return (1 - p_logits.softmax(-1)[:, _AGAIN]).clamp(FLOOR, 1 - FLOOR)
