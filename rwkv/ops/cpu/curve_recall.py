"""The forgetting curve by the native kernel. The definition is rwkv/ops/curve.py."""

import torch
from torch import Tensor

from rwkv.native import curve
from rwkv.ops.cpu.tensors import array
from rwkv.ops.cpu.threads import threads


def curve_recall(curves: Tensor, elapsed_s: Tensor, stabilities: Tensor, points: Tensor, floor: float) -> Tensor:
    """The probability of recall, float32 [N]; `kernels_for(curves)` must be NATIVE.

    Args:
        curves: Joined outputs of the heads, float32 [N, outputs].
        elapsed_s: Seconds after each row, float64 [N].
        stabilities: Stabilities of the curves in seconds, float64.
        points: Correction points in seconds, float64.
        floor: Distance of probabilities from 0 and 1.
    """
    grid = array(stabilities), array(points)
    return torch.from_numpy(curve.curve_recall(array(curves), array(elapsed_s), *grid, floor, threads()))
