"""Stored rows for tests of the encoder, and their inputs by the plain form."""

import torch
from torch import Tensor

from rwkv.model.spec import CODES, CYCLE_DAYS
from rwkv.model.tensor_inputs import cycles, encode_inputs, row_codes
from rwkv.ops.triton.arguments import StoredRows
from rwkv.vocab import FEATURE_NAMES

# The least and the greatest of 32 and of 64 signed bits.
LEAST, GREATEST = -(2**31), 2**31 - 1
LEAST_LONG, GREATEST_LONG = -(2**63), 2**63 - 1


def random_rows(seed: int, rows: int, sequences: int = 1) -> StoredRows:
    """Rows of several sequences, with some values at the ends of their ranges and days before the first."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int, *shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.randint(low, high, shape, generator=generator, dtype=dtype)

    entities, day = whole(0, 5000, len(CODES), rows), whole(0, 40_000, rows)
    first_day = whole(-400, 40_000, rows)
    entities[:, -1:], entities[:, :1] = LEAST, GREATEST
    day[-1:], first_day[-1:], day[:1], first_day[:1] = GREATEST, LEAST, 0, -1
    prefix = whole(LEAST_LONG, GREATEST_LONG, sequences, dtype=torch.int64)
    phases = torch.stack([whole(0, days, sequences, dtype=torch.int64) for days in CYCLE_DAYS], 1)
    phases[-1:] = torch.tensor(CYCLE_DAYS) - 1
    return StoredRows(
        features=torch.randn(rows, len(FEATURE_NAMES), generator=generator),
        entities=entities,
        sequence=whole(0, sequences, rows).sort().values,
        prefix=prefix,
        phases=phases,
        day=day,
        first_day=first_day,
    )


def plain_inputs(rows: StoredRows) -> Tensor:
    """The network's inputs [N, E] of the rows, by the definition."""
    sequence = rows.sequence.to(torch.int64)
    codes = row_codes(rows.prefix[sequence], {code.stream: rows.entities[code.number] for code in CODES})
    return encode_inputs(rows.features, codes, cycles(rows.day, rows.first_day, rows.phases[sequence]))
