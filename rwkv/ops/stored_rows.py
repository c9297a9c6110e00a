"""Rows of histories as the encoder on a GPU reads them. Names only: see rwkv/ops/encode_triton.py."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StoredRows:
    """N rows of S sequences, as in a Batch (rwkv/batches/collate.py), without what only labels need.

    features float32 [N, F]. entities int32 [E, N]: of the streams that have identity codes, by their number in the
    hash. sequence int32 [N]. prefix int64 [S]. phases int64 [S, P]: each below its period. day, first_day int32 [N].
    """

    features: Tensor
    entities: Tensor
    sequence: Tensor
    prefix: Tensor
    phases: Tensor
    day: Tensor
    first_day: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def map(self, change: Callable[[Tensor], Tensor]) -> "StoredRows":
        """The same with all its tensors changed."""
        return StoredRows(*(change(x) for x in vars(self).values()))
