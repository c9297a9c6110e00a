"""What predictions are compared with: two averages, and FSRS-6 with given parameters."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from fsrs import Card, Rating, Scheduler
from fsrs.scheduler import DEFAULT_PARAMETERS, STABILITY_MIN

from rwkv.data.keys import folds_of

Float32s = npt.NDArray[np.float32]

# MOVING-AVG: where the logit of recall begins, and how far a review moves it.
_FIRST_LOGIT = 1.2
_STEP = 0.3

_NOW = datetime(2000, 1, 1, tzinfo=UTC)
# As long as the longest stability. Clocks that jumped give longer intervals, which no date can express.
_MOST_DAYS = 36_500


def average_predictions(y: npt.ArrayLike) -> Float32s:
    """AVG: predict each fold of the benchmark by the share of recalls in all candidates before it.

    y: 1 recalled, 0 forgotten, of the m candidates in time order, those before the first fold included.
    Returns float32 [5 * (m // 6)], for the reviews of the five folds. Source: the benchmark's AVG; spec 2, step 12.
    """
    y = np.asarray(y, np.int64)
    recalled = np.append(0, np.cumsum(y))
    folds = [fold for fold in folds_of(len(y)) if fold.start < len(y)]
    parts = [np.full(fold.stop - fold.start, recalled[fold.start] / fold.start, np.float32) for fold in folds]
    return np.concatenate([np.empty(0, np.float32), *parts])


def moving_average_predictions(y: npt.ArrayLike) -> Float32s:
    """MOVING-AVG: predict each review by an average that follows the candidates before it, the latest most.

    y, and what is returned: as of `average_predictions`. The average's logit takes a gradient step of LogLoss after
    each candidate. Source: the benchmark's MOVING-AVG.
    """
    y = np.asarray(y, np.float64)
    p = np.empty(len(y), np.float32)
    logit = _FIRST_LOGIT
    for row, came in enumerate(y.tolist()):
        expected = 1 / (1 + math.exp(-logit))
        p[row] = expected
        logit += _STEP * (came - expected)
    return p[folds_of(len(y))[0].start :]


def fsrs_predictions(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Float32s:
    """FSRS-6: the probability of recall before each review, given the card's earlier ones.

    card: any integers. rating: 1..4. day: whole days since any date, which may differ from card to card. All [R], in
    time order. parameters: 21, the package's default ones if not given.
    Returns float32 [R]; NaN at the first review of each card. Source: the package `fsrs`.
    """
    # Without learning steps and fuzz a memory state follows from ratings and whole days alone.
    scheduler = Scheduler(parameters, learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    cards, ratings, days = (np.asarray(column).tolist() for column in (card, rating, day))
    memory: dict[int, tuple[Card, int]] = {}
    p = np.full(len(cards), np.nan, np.float32)
    for row, of_card in enumerate(cards):
        state, last_day = memory.get(of_card) or (Card(card_id=of_card, due=_NOW), None)
        if last_day is not None:
            state.last_review = _NOW - timedelta(days=min(days[row] - last_day, _MOST_DAYS))
            p[row] = scheduler.get_card_retrievability(state, _NOW)
        state, _ = scheduler.review_card(state, Rating(ratings[row]), _NOW)
        memory[of_card] = state, days[row]
    return p


def recall_by_stability(
    stability: Sequence[float], since_days: Sequence[int], parameters: Sequence[float]
) -> npt.NDArray[np.float64]:
    """FSRS-6: recall [c] of cards of a stability in days, whole days after their last review. Source: `fsrs`."""
    scheduler = Scheduler(parameters)
    cards = [Card(card_id=0, due=_NOW, stability=max(value, STABILITY_MIN)) for value in stability]
    for card, days in zip(cards, since_days, strict=True):
        card.last_review = _NOW - timedelta(days=min(days, _MOST_DAYS))
    return np.array([scheduler.get_card_retrievability(card, _NOW) for card in cards], np.float64)
