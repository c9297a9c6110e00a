"""A user's history as it is written to a store: compressed, in parts of whole segments."""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.codec import StoredHistory, encode_cards, encode_part
from rwkv.data.excerpts import cut_excerpts, whole_excerpt

# The reviews of a part, in whole segments. Shorter parts take more space: each repeats what it needs of the others.
PART_REVIEWS = 131_072


@dataclass(frozen=True)
class EncodedUser:
    """A user's compressed cards and parts, and the bounds of its segments.

    Attributes:
        bounds: int64 [segments, 4]: the first review (0-based), one past the last, the number of rows, and the part.
    """

    user: int
    cards: bytes
    parts: tuple[bytes, ...]
    bounds: Ints
    reviews: int
    notices: tuple[str, ...]

    @property
    def size(self) -> int:
        """The compressed size in bytes."""
        return len(self.cards) + sum(map(len, self.parts))


def encode_user(stored: StoredHistory, bounds: Ints, part_reviews: int = PART_REVIEWS) -> EncodedUser:
    """Compress a history.

    Args:
        stored: The history.
        bounds: The bounds of its segments, int64 [segments, 3]; see `segment_bounds`.
        part_reviews: About the reviews of a part, which has whole segments.
    """
    table = stored.table
    number = bounds[:, 0] // max(part_reviews, int(bounds[0, 1]))
    starts = bounds[:, 0][np.diff(number, prepend=-1) > 0].tolist()
    parts = zip(starts, [*starts[1:], len(table)], strict=True)
    excerpts = cut_excerpts(whole_excerpt(table, stored.is_key), parts)
    return EncodedUser(
        user=table.user,
        cards=encode_cards(table.cards),
        parts=tuple(map(encode_part, excerpts)),
        bounds=np.column_stack([bounds, number]),
        reviews=len(table),
        notices=table.notices,
    )
