"""Reviews with their moments -> the columns of spec 1. The same for every source of reviews."""

from dataclasses import dataclass

import numpy as np

from rwkv.data.arrow import Columns
from rwkv.data.days import DayClock
from rwkv.data.history import Ints, order_by_card

# What elapsed_seconds counts: from answer to answer as in the published data, or to the moment a question was shown.
ELAPSED = ("published", "start")

# What Anki's own field of a duration holds.
LONGEST_MS = 2**32 - 1


@dataclass(frozen=True)
class TimedReviews:
    """Reviews in order of time, int64 [n > 0]. Every card's first review here is a new start.

    time_ms: end of the answer, in epoch milliseconds. rating, state: as in spec 1.
    """

    card_id: Ints
    time_ms: Ints
    rating: Ints
    state: Ints
    duration_ms: Ints


def review_columns(reviews: TimedReviews, clock: DayClock, elapsed: str) -> Columns:
    """The columns of a revlog, and review_time. elapsed: one of ELAPSED."""
    number = clock.days(reviews.time_ms // 1000)
    # In a zone with summer time a rollover in the doubled hour could come twice.
    day = np.maximum.accumulate(number) - number[0]
    before = order_by_card(reviews.card_id).previous
    asked_ms = reviews.time_ms - (reviews.duration_ms if elapsed == "start" else 0)
    elapsed_s = np.maximum(0, asked_ms - reviews.time_ms[before]) // 1000
    return {
        "card_id": reviews.card_id,
        "day_offset": day,
        "rating": reviews.rating,
        "state": reviews.state,
        "duration": reviews.duration_ms,
        "elapsed_days": np.where(before < 0, -1, day - day[before]),
        "elapsed_seconds": np.where(before < 0, -1, elapsed_s),
        "review_time": reviews.time_ms,
    }
