"""The random encodings of rows as tensors on any device, by the formulas of `rwkv.model.inputs`."""

from functools import cache

import torch
from torch import Tensor

from rwkv.model.inputs import TURNS, code_values, cycle_angles
from rwkv.model.spec import CODES, CYCLE_DAYS


def identity_codes(prefix: Tensor, stream: int, entity: Tensor, width: int) -> Tensor:
    """Compute the identity codes of entities.

    Args:
        prefix: Prefix of each row's SequenceDraw as signed bits, int64 [N]; see `rwkv.model.inputs.as_int64`.
        stream: Number of the stream in its CodeSpec.
        entity: Number of each row's entity, integers [N].
        width: Columns of a code.

    Returns:
        Codes with values -1.5, -0.5, 0.5 and 1.5, float32 [N, width].
    """
    component = torch.arange(width, device=entity.device)
    return code_values(prefix, stream, entity.to(torch.int64), component).to(torch.float32)


def cycles(day: Tensor, first_day: Tensor, phases: Tensor) -> Tensor:
    """Compute the calendar columns.

    Args:
        day: Days from the sequence's first day, integers [N].
        first_day: Day of the card's first row, integers [N].
        phases: Phase of each period in days, int64 [N, periods].

    Returns:
        Sines and cosines of both days in each period, float32 [N, 4 * periods].
    """
    days = torch.stack([day, first_day], 1).to(torch.int64)
    angle = cycle_angles(days, phases, *_periods(day.device))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(torch.float32)


@cache
def _periods(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(CYCLE_DAYS, device=device), torch.tensor(TURNS, dtype=torch.float64, device=device)


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
