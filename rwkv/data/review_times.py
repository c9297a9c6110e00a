"""When the reviews of a history took place, where only days and intervals were recorded."""

import numpy as np

from rwkv.data.history import Ints, RevlogTable, order_by_card
from rwkv.vocab import SECONDS_PER_DAY


def estimated_times(table: RevlogTable) -> Ints:
    """Seconds [R] since the start of day_offset 0, ascending: the earliest that the record allows.

    A review is on its day, after the one before it, and elapsed_s after its card's review before. Exact as far as the
    intervals reach to the start of a day; an error is of hours, never of days.
    """
    previous = order_by_card(table.card).previous.tolist()
    starts = (table.day_offset.astype(np.int64) * SECONDS_PER_DAY).tolist()
    times: list[int] = []
    latest = starts[0]
    for before, start, elapsed_s in zip(previous, starts, table.elapsed_s.tolist(), strict=True):
        earliest = start if before < 0 or elapsed_s < 0 else max(start, times[before] + elapsed_s)
        latest = max(latest, min(earliest, start + SECONDS_PER_DAY - 1))
        times.append(latest)
    return np.array(times, np.int64)
