"""FSRS-6 with given parameters: recall before each review, and intervals. Source: the package `fsrs`."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Float32s, Floats, Ints
from rwkv.data.fsrs5 import first_state, next_difficulty, recall_after, stability_on_later_day
from rwkv.evaluation.realism.histories import layers

# fmt: off
DEFAULT_PARAMETERS = (
    0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796,
    1.4835, 0.0614, 0.2629, 1.6483, 0.6014, 1.8729, 0.5425, 0.0912, 0.0658, 0.1542,
)
# fmt: on
STABILITY_MIN = 0.001

# The longest stability of FSRS. A clock that jumped gives longer intervals, which are clipped.
_MOST_DAYS = 36_500
# Index of the curve's exponent among the parameters.
_POWER = 20


def fsrs_predictions(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Float32s:
    """Predict each review from the earlier ones of its card by FSRS-6.

    Args:
        card: Card ids, integers [R], of the reviews in time order.
        rating: Ratings 1..4, [R].
        day: Whole days [R], counted from any date, which may differ from card to card.
        parameters: The 21 parameters.

    Returns:
        The probability of recall, float32 [R]; NaN at the first review of each card.

    Source: The package `fsrs`, without learning steps.
    """
    p = np.full(len(np.asarray(rating)), np.nan, np.float32)
    for rows, recall, _ in _walk(card, rating, day, parameters):
        p[rows] = recall
    return p


def stabilities(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Floats:
    """The stability of the card after each review in days, float64 [R]; arguments of `fsrs_predictions`."""
    stability_after = np.empty(len(np.asarray(rating)), np.float64)
    for rows, _, stability in _walk(card, rating, day, parameters):
        stability_after[rows] = stability
    return stability_after


def recall_by_stability(
    stability: npt.ArrayLike, since_days: npt.ArrayLike, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Floats:
    """The recall of cards by FSRS-6, float64 [c].

    Args:
        stability: Stabilities [c] in days.
        since_days: Whole days [c] since the last review of each card.
        parameters: The 21 parameters.
    """
    days = np.minimum(np.asarray(since_days, np.float64), _MOST_DAYS)
    return recall_after(days, np.maximum(np.asarray(stability, np.float64), STABILITY_MIN), parameters[_POWER])


def interval_by_stability(
    stability: Floats, retention: AnyFloats, parameters: Sequence[float] = DEFAULT_PARAMETERS
) -> Floats:
    """Days until recall falls to the desired retention [c], float64 [c]: the curve solved for the time."""
    power = parameters[_POWER]
    return stability * (retention ** (-1 / power) - 1) / (0.9 ** (-1 / power) - 1)


def _walk(
    card: npt.ArrayLike, rating: npt.ArrayLike, day: npt.ArrayLike, parameters: Sequence[float]
) -> Iterator[tuple[Ints, Floats, Floats]]:
    """The first review of each card, then the second of each, and so on: rows, recall before, stability after."""
    ratings, days = np.asarray(rating, np.int64), np.asarray(day, np.int64)
    card_layers = layers(np.unique(card, return_inverse=True)[1].astype(np.int64))
    if not card_layers:
        return
    last, *others = card_layers
    w = np.broadcast_to(np.array(parameters, np.float64), (len(last), len(parameters)))
    stability, difficulty = first_state(w, ratings[last])
    yield last, np.full(len(last), np.nan), stability
    for rows in others:
        w, last = w[: len(rows)], last[: len(rows)]
        elapsed = np.clip(days[rows] - days[last], 0, _MOST_DAYS)
        stability, difficulty = stability[: len(rows)], difficulty[: len(rows)]
        recall = recall_after(elapsed, stability, parameters[_POWER])
        later = stability_on_later_day(w, stability, difficulty, ratings[rows], recall)
        within_day = _stability_within_day(w, stability, ratings[rows])
        stability = np.maximum(np.where(elapsed == 0, within_day, later), STABILITY_MIN)
        difficulty, last = next_difficulty(w, difficulty, ratings[rows]), rows
        yield rows, recall, stability


def _stability_within_day(w: Floats, stability: Floats, rating: Ints) -> Floats:
    """The stability after a second review on one day; only Again lowers it."""
    growth = np.exp(w[:, 17] * (rating - 3 + w[:, 18])) * stability ** -w[:, 19]
    return stability * np.where(rating == 1, growth, np.maximum(growth, 1))
