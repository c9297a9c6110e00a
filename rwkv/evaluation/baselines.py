"""What predictions are compared with: the average so far, and FSRS-6 with its default parameters."""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from fsrs import Card, Rating, Scheduler

_FOLDS = 5
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def average_predictions(y: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """AVG: predict each fold of the benchmark by the share of recalls in all candidates before it.

    y: 1 recalled, 0 forgotten, of the m candidates in time order, those before the first fold included.
    Returns float32 [5 * (m // 6)], the share (k + 1) / (n + 2) at each review of the five folds that scikit-learn's
    TimeSeriesSplit(5) tests, where k of the n candidates before the fold were recalled.
    Source: spec 2, steps 10 and 12.
    """
    y = np.asarray(y, np.int64)
    fold = len(y) // (_FOLDS + 1)
    before = len(y) - fold * np.arange(_FOLDS, 0, -1)
    recalled = np.append(0, np.cumsum(y))[before]
    return np.repeat((recalled + 1) / (before + 2), fold).astype(np.float32)


def fsrs_predictions(card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """FSRS-6 with default parameters: the probability of recall before each review, given the card's earlier ones.

    card: any integers. rating: 1..4. day: whole days since any date. All [R], in time order.
    Returns float32 [R]; NaN at the first review of each card. Source: the package `fsrs`.
    """
    # Without learning steps and fuzz a memory state follows from ratings and whole days alone.
    scheduler = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    cards, ratings, days = (np.asarray(column).tolist() for column in (card, rating, day))
    memory: dict[int, Card] = {}
    p = np.full(len(cards), np.nan, np.float32)
    for row, of_card in enumerate(cards):
        now = _EPOCH + timedelta(days=days[row] - days[0])
        if of_card in memory:
            p[row] = scheduler.get_card_retrievability(memory[of_card], now)
        state = memory.get(of_card) or Card(card_id=of_card, due=now)
        memory[of_card], _ = scheduler.review_card(state, Rating(ratings[row]), now)
    return p
