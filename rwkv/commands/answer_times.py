"""How long a person takes to answer."""

import numpy as np

from rwkv.data.history import RevlogTable
from rwkv.vocab import RATINGS


def median_answer_ms(history: RevlogTable) -> tuple[int, ...]:
    """Median milliseconds by rating [4]; of a rating that was never given, that of all answers."""
    of_rating = [history.duration_ms[history.rating == rating] for rating in RATINGS]
    return tuple(int(np.median(ms if len(ms) else history.duration_ms)) for ms in of_rating)
