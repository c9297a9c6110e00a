"""Initial weights (spec 4).

They are computed on the CPU wherever the network is made: on torch's device "meta", where networks are made whose
weights come from a file, the first quotient would load torch's compiler, for more than a second.
"""

import torch
from torch import Tensor, nn


def time_lerp(channels: int, layer: int, layers: int) -> Tensor:
    """[8, 1, 1, C] for r, k, v, d, a, g, k_scale, v_scale."""
    q, p = _depth(layer, layers)
    ch = _places(channels) / channels
    slow = ch ** (0.9 * p)
    fast = ch ** (0.2 * p)
    lerps = [1 - fast, 1 - (slow + 0.4 * q), 1 - (fast + 0.6 * q), 1 - slow, 1 - slow, 1 - fast, 1 - slow, 1 - slow]
    return torch.stack(lerps).view(8, 1, 1, channels)


def channel_lerp(channels: int, layer: int, layers: int) -> Tensor:
    """[1, 1, C]."""
    _, p = _depth(layer, layers)
    return (1 - (_places(channels) / channels) ** (p**4)).view(1, 1, channels)


def decay_bias(channels: int, layer: int, layers: int) -> Tensor:
    """[C], from slow to fast forgetting."""
    q, _ = _depth(layer, layers)
    return -6.5 + 5 * (_places(channels) / (channels - 1)) ** (0.85 + q**0.5)


def orthogonal(weight: Tensor) -> None:
    """Orthogonal in place, with gain 0.1 * (sqrt(rows / columns) if there are more rows, else 1)."""
    rows, columns = weight.shape
    nn.init.orthogonal_(weight, gain=0.1 * max(1.0, rows / columns) ** 0.5)


def _depth(layer: int, layers: int) -> tuple[float, float]:
    """(q: 0 at the first layer to 1 at the last, p: 1 at the first layer, falling)."""
    return layer / (layers - 1) if layers > 1 else 0.0, 1 - layer / layers


def _places(channels: int) -> Tensor:
    return torch.arange(channels, device="cpu")
