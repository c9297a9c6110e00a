"""Random encodings added to the stored columns: identity codes and calendar cycles from a counter hash (spec 3)."""

import math
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyInts, Float32s, Ints, Numbers
from rwkv.model.spec import CYCLE_DAYS

EVALUATION_SEED = 1234
EVALUATION_DRAW = 0

# The angle of a day in each of the calendar's periods.
TURNS = tuple(2 * math.pi / days for days in CYCLE_DAYS)

_PHASE_STREAM = 4
_MASK = (1 << 64) - 1
_INCREMENT, _FIRST_FACTOR, _SECOND_FACTOR = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(z: int) -> int:
    """Scramble an unsigned 64-bit number bijectively (splitmix64)."""
    z = (z + _INCREMENT) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST_FACTOR) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND_FACTOR) & _MASK
    return z ^ (z >> 31)


def counter_hash(*numbers: int, start: int = 0) -> int:
    """The hash h(x1, ..., xn) of unsigned 64-bit numbers; `start` continues an earlier hash."""
    for x in numbers:
        start = mix(start ^ (x & _MASK))
    return start


def training_draw(epoch: int, segment: int) -> int:
    """The draw of a segment in an epoch, so that its codes differ in every epoch."""
    return (counter_hash(epoch, segment) + 1) & _MASK


@dataclass(frozen=True)
class SequenceDraw:
    """The random encodings of one sequence.

    Attributes:
        prefix: Hash of (seed, draw, user), 64 unsigned bits.
        phases: Phase of each period in days.
    """

    prefix: int
    phases: tuple[int, ...]


def draw_sequence(user: int, seed: int = EVALUATION_SEED, draw: int = EVALUATION_DRAW) -> SequenceDraw:
    """Draw the random encodings of a user's sequence."""
    prefix = counter_hash(seed, draw, user)
    phases = (counter_hash(_PHASE_STREAM, j, 0, start=prefix) % days for j, days in enumerate(CYCLE_DAYS))
    return SequenceDraw(prefix, tuple(phases))


def identity_codes(prefix: int, stream: int, entity: AnyInts, width: int) -> Float32s:
    """Compute the identity codes of one sequence's entities.

    Args:
        prefix: Prefix of the SequenceDraw as signed bits; see `as_int64`.
        stream: Number of the stream in its CodeSpec.
        entity: Numbers of the entities, [n].
        width: Columns of a code.

    Returns:
        Codes with values -1.5, -0.5, 0.5 and 1.5, float32 [n, width].
    """
    prefixes = np.array([prefix], np.int64)
    return code_values(prefixes, stream, entity.astype(np.int64), np.arange(width)).astype(np.float32)


def cycles(day: AnyInts, first_day: AnyInts, phases: Ints) -> Float32s:
    """Compute the calendar columns.

    Args:
        day: Days from the sequence's first day, [n].
        first_day: Day of the card's first row, [n].
        phases: Phase of each period in days, [n, periods] or [1, periods].

    Returns:
        Sines and cosines of both days in each period, float32 [n, 4 * periods].
    """
    days = np.stack([day, first_day], 1).astype(np.int64)
    angle = cycle_angles(days, phases, np.array(CYCLE_DAYS), np.array(TURNS))
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(len(day), -1).astype(np.float32)


# --- The formulas, for arrays and tensors alike


def code_values(prefix: Numbers, stream: int, entity: Numbers, component: Numbers) -> Numbers:
    """The identity codes [n, width] of entities.

    Args:
        prefix: Prefix of each entity's SequenceDraw as signed bits, int64 [n] or [1].
        stream: Number of the stream in its CodeSpec.
        entity: Numbers of the entities, int64 [n].
        component: 0 to width - 1, int64 [width].

    Source: Spec 3.
    """
    entity_hash = _mix_numbers(_mix_numbers(prefix ^ stream) ^ entity)
    return (_mix_numbers(entity_hash[:, None] ^ component) & 3) - 1.5


def cycle_angles(days: Numbers, phases: Numbers, period: Numbers, turn: Numbers) -> Numbers:
    """The angle of each day in each period, float64 [n, periods, days].

    Args:
        days: Days from the sequence's first day, int64 [n, days].
        phases: Phase of each period in days, int64 [n, periods].
        period: CYCLE_DAYS, int64 [periods].
        turn: The angle of a day in each period, float64 [periods].

    Source: Spec 3.
    """
    return (phases[:, :, None] + days[:, None, :]) % period[:, None] * turn[:, None]


def as_int64(unsigned: int) -> int:
    """Reinterpret an unsigned 64-bit number as a signed one, for arrays and tensors."""
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def _mix_numbers(z: Numbers) -> Numbers:
    """`mix` on int64 numbers, whose arithmetic wraps around."""
    z = z + as_int64(_INCREMENT)
    z = (z ^ _shift_right(z, 30)) * as_int64(_FIRST_FACTOR)
    z = (z ^ _shift_right(z, 27)) * as_int64(_SECOND_FACTOR)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Numbers, bits: int) -> Numbers:
    """Shift right without extending the sign, as the operator would."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
