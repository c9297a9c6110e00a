"""Encodings added to the stored columns: identity codes and calendar cycles, drawn from a counter hash (spec 3)."""

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
    """A bijective scrambling of 64 unsigned bits."""
    z = (z + _INCREMENT) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST_FACTOR) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND_FACTOR) & _MASK
    return z ^ (z >> 31)


def counter_hash(*numbers: int, start: int = 0) -> int:
    """h(x1, ..., xn) on unsigned 64 bits; `start` continues an earlier hash."""
    for x in numbers:
        start = mix(start ^ (x & _MASK))
    return start


def training_draw(epoch: int, segment: int) -> int:
    """The draw of a segment in an epoch: fresh codes each time it is seen."""
    return (counter_hash(epoch, segment) + 1) & _MASK


@dataclass(frozen=True)
class SequenceDraw:
    """The random encodings of one sequence: the hash of (seed, draw, user), and the phase of each period in days."""

    prefix: int
    phases: tuple[int, ...]


def draw_sequence(user: int, seed: int = EVALUATION_SEED, draw: int = EVALUATION_DRAW) -> SequenceDraw:
    """The encodings of a user's sequence."""
    prefix = counter_hash(seed, draw, user)
    phases = (counter_hash(_PHASE_STREAM, j, 0, start=prefix) % days for j, days in enumerate(CYCLE_DAYS))
    return SequenceDraw(prefix, tuple(phases))


def identity_codes(prefix: Tensor, stream: int, entity: Tensor, width: int) -> Tensor:
    """Codes in {-1.5, -0.5, 0.5, 1.5}, float32 [N, width].

    prefix: int64 [N], bits of SequenceDraw.prefix (see `as_int64`). stream: its number in CodeSpec. entity: int [N].
    """
    of_entity = _mix_tensor(_mix_tensor(prefix ^ stream) ^ entity.to(torch.int64))
    component = torch.arange(width, device=entity.device)
    return ((_mix_tensor(of_entity[:, None] ^ component) & 3) - 1.5).to(torch.float32)


def cycles(day: Tensor, first_day: Tensor, phases: Tensor) -> Tensor:
    """Calendar columns, float32 [N, 28]. day, first_day: int [N], days of the sequence. phases: int64 [N, 7]."""
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
    """The network's inputs [N, 92]: features [N, 24], codes of card, note, deck, preset, and the cycles [N, 28]."""
    return torch.cat([features, *codes, calendar], 1)


def row_codes(prefix: Tensor, entities: dict[str, Tensor]) -> list[Tensor]:
    """The four blocks of identity codes of rows. prefix: int64 [N]; entities: per stream int [N]."""
    return [identity_codes(prefix, code.number, entities[code.stream], code.width) for code in CODES]


def as_int64(unsigned: int) -> int:
    """The same 64 bits as a signed number, for a tensor."""
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def _mix_tensor(z: Tensor) -> Tensor:
    """`mix` on int64 tensors, whose arithmetic wraps around."""
    z = z + as_int64(_INCREMENT)
    z = (z ^ _shift_right(z, 30)) * as_int64(_FIRST_FACTOR)
    z = (z ^ _shift_right(z, 27)) * as_int64(_SECOND_FACTOR)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
