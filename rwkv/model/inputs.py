"""Random encodings added to the stored columns: identity codes and calendar cycles from a counter hash (spec 3)."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rwkv.model.spec import CODES, CYCLE_DAYS

EVALUATION_SEED = 1234
EVALUATION_DRAW = 0

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


def identity_codes(prefix: Tensor, stream: int, entity: Tensor, width: int) -> Tensor:
    """Compute the identity codes of entities.

    Args:
        prefix: Prefix of each row's SequenceDraw as signed bits, int64 [N]; see `as_int64`.
        stream: Number of the stream in its CodeSpec.
        entity: Number of each row's entity, integers [N].
        width: Columns of a code.

    Returns:
        Codes with values -1.5, -0.5, 0.5 and 1.5, float32 [N, width].

    Source: Spec 3.
    """
    entity_hash = _mix_tensor(_mix_tensor(prefix ^ stream) ^ entity.to(torch.int64))
    component = torch.arange(width, device=entity.device)
    return ((_mix_tensor(entity_hash[:, None] ^ component) & 3) - 1.5).to(torch.float32)


def cycles(day: Tensor, first_day: Tensor, phases: Tensor) -> Tensor:
    """Compute the calendar columns.

    Args:
        day: Days from the sequence's first day, integers [N].
        first_day: Day of the card's first row, integers [N].
        phases: Phase of each period in days, int64 [N, periods].

    Returns:
        Sines and cosines of both days in each period, float32 [N, 4 * periods].

    Source: Spec 3.
    """
    period = _cycle_days(day.device)
    days = torch.stack([day, first_day], 1).to(torch.int64)
    angle = (
        (phases[:, :, None] + days[:, None, :]) % period[:, None] * (2 * math.pi / period.to(torch.float64))[:, None]
    )
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(torch.float32)


@cache
def _cycle_days(device: torch.device) -> Tensor:
    return torch.tensor(CYCLE_DAYS, device=device)


def encode_inputs(features: Tensor, codes: list[Tensor], calendar: Tensor) -> Tensor:
    """Join the network's inputs [N, E]: features [N, F], codes of card, note, deck and preset, and calendar [N, 28]."""
    return torch.cat([features, *codes, calendar], 1)


def row_codes(prefix: Tensor, entities: dict[str, Tensor]) -> list[Tensor]:
    """The blocks of identity codes of rows.

    Args:
        prefix: Prefix of each row's SequenceDraw as signed bits, int64 [N].
        entities: Number of each row's entity by stream, integers [N].
    """
    return [identity_codes(prefix, code.number, entities[code.stream], code.width) for code in CODES]


def as_int64(unsigned: int) -> int:
    """Reinterpret an unsigned 64-bit number as a signed one, for a tensor."""
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def _mix_tensor(z: Tensor) -> Tensor:
    """`mix` on int64 tensors, whose arithmetic wraps around."""
    z = z + as_int64(_INCREMENT)
    z = (z ^ _shift_right(z, 30)) * as_int64(_FIRST_FACTOR)
    z = (z ^ _shift_right(z, 27)) * as_int64(_SECOND_FACTOR)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Shift right without extending the sign, as torch's operator would."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
