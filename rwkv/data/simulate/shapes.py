"""Small functions that turn random numbers into traits."""

import numpy as np

from rwkv.arrays import Floats, Ints


def bounds(counts: Ints) -> Ints:
    """Where each of consecutive groups begins, and the last ends: int64 [n + 1] from counts [n]."""
    return np.concatenate(([0], np.cumsum(counts)))


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def logit(uniform: Floats) -> Floats:
    """The inverse of `sigmoid`, finite at 0 and 1."""
    inside = np.clip(uniform, 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


def heavy(normal: Floats, median: float, spread: float = 0.8) -> Floats:
    """Sizes that differ a lot from learner to learner: log-normal, a few times the median for some."""
    return median * np.exp(spread * np.clip(normal, -3, 2.2))
