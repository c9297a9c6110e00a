"""Functions that transform random numbers to traits."""

import numpy as np

from rwkv.arrays import Floats, Ints


def bounds(counts: Ints) -> Ints:
    """The bounds of consecutive groups, int64 [n + 1], from their sizes [n]."""
    return np.concatenate(([0], np.cumsum(counts)))


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def logit(uniform: Floats) -> Floats:
    """The inverse of `sigmoid`, finite at 0 and 1."""
    inside = np.clip(uniform, 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


def heavy(normal: Floats, median: float, spread: float = 0.8) -> Floats:
    """Log-normal sizes with a median and a spread, from standard normals."""
    return median * np.exp(spread * np.clip(normal, -3, 2.2))


def failing_share(entropy: Floats) -> Floats:
    """The share of failures, at most half, from its entropy, which is the LogLoss of a constant prediction."""
    share = np.geomspace(1e-4, 0.5, 200)
    return np.interp(entropy, -share * np.log(share) - (1 - share) * np.log1p(-share), share)
