"""The formulas of FSRS-5 on arrays: stability and difficulty after ratings and waiting times.

Parameters w are [n, 19], a row for each review. Stability is in days until recall is .9, difficulty from 1 to 10, and
rating from 1 to 4. Source: the algorithm FSRS-5 as published by open-spaced-repetition.
"""

import numpy as np

from rwkv.arrays import Bools, Floats, Ints

# fmt: off
DEFAULT = np.array([
    0.40255, 1.18385, 3.173, 15.69105, 7.1949, 0.5345, 1.4604, 0.0046, 1.54575, 0.1192,
    1.01925, 1.9395, 0.11, 0.29605, 2.2698, 0.2315, 2.9898, 0.51655, 0.6621,
])
# fmt: on
POWER = 0.5
_LEAST_DAYS, _MOST_DAYS = 0.01, 36_500.0


def recall_after(days: Floats, stability: Floats, power: Floats | float = POWER) -> Floats:
    """Recall after a number of days: a power law with the value .9 at the stability. power: its exponent."""
    return (1 + (0.9 ** (-1 / power) - 1) * days / stability) ** -power


def interval_for(retention: Floats, stability: Floats) -> Floats:
    """The number of days until recall falls to `retention`."""
    return stability * (retention ** (-1 / POWER) - 1) / (0.9 ** (-1 / POWER) - 1)


def first_state(w: Floats, rating: Ints) -> tuple[Floats, Floats]:
    """Stability and difficulty after a card's first answer."""
    return w[np.arange(len(rating)), rating - 1], np.clip(_first_difficulty(w, rating), 1, 10)


def next_stability(
    w: Floats, stability: Floats, difficulty: Floats, rating: Ints, recall: Floats, same_day: Bools
) -> Floats:
    """Stability after an answer. recall: the probability of recall before it."""
    within_day = stability * np.exp(w[:, 17] * (rating - 3 + w[:, 18]))
    after = np.where(same_day, within_day, stability_on_later_day(w, stability, difficulty, rating, recall))
    return np.clip(after, _LEAST_DAYS, _MOST_DAYS)


def stability_on_later_day(w: Floats, stability: Floats, difficulty: Floats, rating: Ints, recall: Floats) -> Floats:
    """Unbounded stability after an answer on a later day than the previous one. FSRS-6 has the same formula."""
    hard, easy = np.where(rating == 2, w[:, 15], 1), np.where(rating == 4, w[:, 16], 1)
    gain = np.exp(w[:, 8]) * (11 - difficulty) * stability ** -w[:, 9] * np.expm1(w[:, 10] * (1 - recall))
    grown = stability * (1 + gain * hard * easy)
    lapsed = w[:, 11] * difficulty ** -w[:, 12] * ((stability + 1) ** w[:, 13] - 1) * np.exp(w[:, 14] * (1 - recall))
    lapsed = np.minimum(lapsed, stability / np.exp(w[:, 17] * w[:, 18]))
    return np.where(rating == 1, lapsed, grown)


def next_difficulty(w: Floats, difficulty: Floats, rating: Ints) -> Floats:
    """Difficulty after an answer: a damped step, and a reversion to the difficulty of an easy card."""
    stepped = difficulty - w[:, 6] * (rating - 3) * (10 - difficulty) / 9
    return np.clip(w[:, 7] * _first_difficulty(w, np.full(len(rating), 4)) + (1 - w[:, 7]) * stepped, 1, 10)


def _first_difficulty(w: Floats, rating: Ints) -> Floats:
    return w[:, 4] - np.exp(w[:, 5] * (rating - 1)) + 1
