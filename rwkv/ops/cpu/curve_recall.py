"""The forgetting curve by the native kernel. The definition is `rwkv.model.curve.curve_logits`."""

from torch import Tensor

from rwkv.ops.cpu.native import native


def curve_recall(curves: Tensor, elapsed_s: Tensor, stabilities: Tensor, points: Tensor, floor: float) -> Tensor:
    """Probability of recall, float32 [N], where `kernels_for(curves)` is NATIVE.

    curves: [N, 256 or more], w_logits and ahead_logits side by side. elapsed_s, stabilities, points: float64.
    """
    return native().curve_recall(curves, elapsed_s, stabilities, points, floor)
