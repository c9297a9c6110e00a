"""Initial weights (spec 4).

They are always computed on the CPU. On the device "meta", where networks are made whose weights come from a file, the
first division would load torch's compiler, which takes more than a second.
"""

import torch
from torch import Tensor, nn


def time_lerp(channels: int, layer: int, layers: int) -> Tensor:
    """The time mixer's interpolation weights of r, k, v, d, a, g, k_scale and v_scale, [8, 1, 1, C]."""
    q, p = _depth(layer, layers)
    ch = _places(channels) / channels
    slow = ch ** (0.9 * p)
    fast = ch ** (0.2 * p)
    lerps = [1 - fast, 1 - (slow + 0.4 * q), 1 - (fast + 0.6 * q), 1 - slow, 1 - slow, 1 - fast, 1 - slow, 1 - slow]
    return torch.stack(lerps).view(8, 1, 1, channels)


def channel_lerp(channels: int, layer: int, layers: int) -> Tensor:
    """The channel mixer's interpolation weights, [1, 1, C]."""
    _, p = _depth(layer, layers)
    return (1 - (_places(channels) / channels) ** (p**4)).view(1, 1, channels)


def decay_bias(channels: int, layer: int, layers: int) -> Tensor:
    """The bias of the decay, [C], from slow to fast forgetting."""
    q, _ = _depth(layer, layers)
    return -6.5 + 5 * (_places(channels) / (channels - 1)) ** (0.85 + q**0.5)


def orthogonal(weight: Tensor) -> None:
    """Initialise in place as an orthogonal matrix with gain 0.1 * max(1, sqrt(rows / columns))."""
    rows, columns = weight.shape
    nn.init.orthogonal_(weight, gain=0.1 * max(1.0, rows / columns) ** 0.5)


def _depth(layer: int, layers: int) -> tuple[float, float]:
    """The depth of a layer: q rises from 0 at the first layer to 1 at the last, p falls from 1 at the first layer."""
    return layer / (layers - 1) if layers > 1 else 0.0, 1 - layer / layers


def _places(channels: int) -> Tensor:
    return torch.arange(channels, device="cpu")
