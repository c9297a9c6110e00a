"""SM-2 as a memory model: recall falls to .9 at the interval that it would give."""

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.realism.histories import Histories, layers

_FIRST_EASE, _LEAST_EASE = 2.5, 1.3
_FIRST_DAYS, _SECOND_DAYS, _MOST_DAYS = 1.0, 6.0, 36_500.0
# By rating 1..4, which SM-2 calls 2..5.
_EASE_STEP = np.array([0, -0.32, -0.14, 0, 0.1])


def sm2_predictions(histories: Histories) -> npt.NDArray[np.float64]:
    """The probability of recall before each tested review [T]. Source: the benchmark's SM2; no same-day reviews."""
    histories = histories.without_same_day()
    p = np.full(len(histories), np.nan)
    cards = int(histories.card.max(initial=-1)) + 1
    interval, ease, passed = np.zeros(cards), np.full(cards, _FIRST_EASE), np.zeros(cards, np.int64)
    for rows in layers(histories.card):
        count, rating = len(rows), histories.rating[rows]
        before, of_ease, of_passed = interval[:count], ease[:count], passed[:count]
        with np.errstate(divide="ignore", invalid="ignore"):
            p[rows] = np.where(before > 0, 0.9 ** (histories.days[rows] / before), np.nan)
        grown = np.select([of_passed == 0, of_passed == 1], [_FIRST_DAYS, _SECOND_DAYS], before * of_ease)
        after = np.where(rating > 1, grown, _FIRST_DAYS)
        interval[:count] = np.clip(np.rint(after + 0.01), _FIRST_DAYS, _MOST_DAYS)
        ease[:count] = np.maximum(of_ease + _EASE_STEP[rating], _LEAST_EASE)
        passed[:count] = np.where(rating > 1, of_passed + 1, 0)
    return p[histories.fold > 0]
