"""Probabilities from a row's outputs as tensors: the forgetting curve (RWKV) and RWKV-P (spec 4).

For arrays, see `rwkv.model.recall`.
"""

from torch import Tensor

from rwkv.forgetting_curve import FLOOR

# Other layers take the definition from here.
from rwkv.ops.curve import correction_points as correction_points
from rwkv.ops.curve import curve_logits as curve_logits
from rwkv.ops.curve import curve_rows as curve_rows
from rwkv.ops.curve import curve_stabilities as curve_stabilities

_AGAIN = 0


def immediate_recall(p_logits: Tensor) -> Tensor:
    """The recall by RWKV-P, [N], from the rating logits [N, 4] of query rows."""
    return (1 - p_logits.softmax(-1)[:, _AGAIN]).clamp(FLOOR, 1 - FLOOR)
