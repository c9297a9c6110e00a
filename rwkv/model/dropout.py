"""Dropout with explicit masks."""

from torch import Tensor

from rwkv.ops.dropout import NO_DROP, Drop, dropped

_SEED_BITS = 32


def mask_seed(number: int, first_row: int) -> int:
    """The seed of the masks of a batch that is a part of a larger one, with the same masks as in the larger one.

    Args:
        number: Seed of the masks of the whole batch, of which the low 32 bits count.
        first_row: Number of rows before the part; 0 for the whole batch.
    """
    return first_row << _SEED_BITS | number % (1 << _SEED_BITS)


class DropoutMasks:
    """The dropout masks of one forward pass; every use draws its own mask.

    Args:
        seed: Seed of the masks, int64 [1] on the network's device, see `mask_seed`.
    """

    def __init__(self, seed: Tensor) -> None:
        self.seed = seed
        self._uses = 0

    def next_use(self) -> int:
        """The number of the next use, from which its mask is drawn."""
        self._uses += 1
        return self._uses


def next_drop(rate: float, masks: DropoutMasks | None) -> Drop:
    """The next use of dropout; none if `masks` is None (evaluation)."""
    return NO_DROP if masks is None or rate == 0 else Drop(rate, masks.seed, masks.next_use())


def dropout(x: Tensor, rate: float, masks: DropoutMasks | None) -> Tensor:
    """Zero entries with probability `rate` and scale up the others; the identity if `masks` is None (evaluation)."""
    return dropped(x, next_drop(rate, masks))


def add_dropped(residual: Tensor, x: Tensor, rate: float, masks: DropoutMasks | None) -> Tensor:
    """residual + dropout(x)."""
    return dropped(x, next_drop(rate, masks), residual)
