"""SM-2 as a memory model: recall falls to 0.9 at the interval that SM-2 would schedule."""

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.realism.histories import Histories, layers

_FIRST_EASE, _LEAST_EASE = 2.5, 1.3
_FIRST_DAYS, _SECOND_DAYS, _MOST_DAYS = 1.0, 6.0, 36_500.0
# Indexed by rating 1..4, which are the grades 2..5 of SM-2.
_EASE_STEP = np.array([0, -0.32, -0.14, 0, 0.1])


def sm2_predictions(histories: Histories) -> npt.NDArray[np.float64]:
    """Predict each tested review by SM-2, without same-day reviews.

    Returns:
        The probability of recall, float64 [n]; NaN at the first review of each card.

    Source: SM2 of the benchmark.
    """
    histories = histories.without_same_day()
    p = np.full(len(histories), np.nan)
    cards = int(histories.card.max(initial=-1)) + 1
    interval, ease, passed = np.zeros(cards), np.full(cards, _FIRST_EASE), np.zeros(cards, np.int64)
    for rows in layers(histories.card):
        count, rating = len(rows), histories.rating[rows]
        old_interval, old_ease, old_passed = interval[:count], ease[:count], passed[:count]
        with np.errstate(divide="ignore", invalid="ignore"):
            p[rows] = np.where(old_interval > 0, 0.9 ** (histories.days[rows] / old_interval), np.nan)
        grown = np.select([old_passed == 0, old_passed == 1], [_FIRST_DAYS, _SECOND_DAYS], old_interval * old_ease)
        new_interval = np.where(rating > 1, grown, _FIRST_DAYS)
        interval[:count] = np.clip(np.rint(new_interval + 0.01), _FIRST_DAYS, _MOST_DAYS)
        ease[:count] = np.maximum(old_ease + _EASE_STEP[rating], _LEAST_EASE)
        passed[:count] = np.where(rating > 1, old_passed + 1, 0)
    return p[histories.fold > 0]
