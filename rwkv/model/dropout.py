"""Dropout whose randomness is passed in."""

from torch import Tensor

from rwkv.ops.dropout import hash_dropout


class DropoutSource:
    """The randomness of one forward pass. seed: int64 [1], on the network's device; every use draws its own mask."""

    def __init__(self, seed: Tensor) -> None:
        self.seed = seed
        self._uses = 0

    def next_use(self) -> int:
        """A number for the next use."""
        self._uses += 1
        return self._uses


def dropout(x: Tensor, rate: float, source: DropoutSource | None) -> Tensor:
    """Zero entries with probability `rate` and scale up the others; the identity without a source (evaluation)."""
    if source is None or rate == 0:
        return x
    return hash_dropout(x, rate, source.seed, source.next_use())


def add_dropped(residual: Tensor, x: Tensor, rate: float, source: DropoutSource | None) -> Tensor:
    """residual + dropout(x)."""
    if source is None or rate == 0:
        return residual + x
    return hash_dropout(x, rate, source.seed, source.next_use(), residual)
