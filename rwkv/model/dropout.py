"""Dropout whose randomness is passed in."""

import torch
from torch import Tensor


def dropout(x: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
    """Zero entries with probability `rate` and scale up the others; the identity without a generator (evaluation)."""
    if rng is None or rate == 0:
        return x
    keep = torch.empty_like(x).bernoulli_(1 - rate, generator=rng)
    return x * keep.div_(1 - rate)
