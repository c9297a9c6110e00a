"""What all forms of the forgetting curve share: its constants, and the parts of its formula (spec 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from rwkv.arrays import Numbers

# Number of curves in the mixture, and of corrections.
CURVES = 128
# Distance of probabilities from 0 and 1.
FLOOR = 1e-5
_RANGE = 18.5


@dataclass(frozen=True)
class Grid:
    """Times that grow exponentially: offset + (e^(18.5 i / 127) - 1) * e^scale seconds for i = 0..127."""

    offset: float
    scale: float

    def seconds(self, number: Numbers, expm1: Callable[[Numbers], Numbers]) -> Numbers:
        """The times, float64 [128], from the numbers 0..127, float64, and the exponential minus 1."""
        return self.offset + expm1(number * (_RANGE / (CURVES - 1))) * math.exp(self.scale)


# The stabilities s_i of the curves; recall by curve i falls to 0.9 after s_i.
STABILITIES = Grid(0.1, 3.5)
# The times x_i of the corrections.
CORRECTIONS = Grid(0.5, 2.5)


def floored(p: Numbers) -> Numbers:
    """A probability, or a correction, in the range from FLOOR to 1 - FLOOR."""
    return FLOOR + (1 - 2 * FLOOR) * p
