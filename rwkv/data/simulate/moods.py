"""Effects on recall from review to review: smooth waves, careless periods, and noise of learning."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Float32s, Floats, Ints
from rwkv.data.simulate.shapes import heavy, sigmoid

_CARELESS_REVIEWS = 25
_RIPPLE_REVIEWS = 2.5
_MOST_SWELL = 2.0


@dataclass(frozen=True)
class Moods:
    """Effects by review, in the order of answers: wave, a logit; is_careless; luck, a standard normal."""

    wave: Float32s
    is_careless: Bools
    luck: Float32s


def draw_moods(trait: Iterator[Floats], rngs: list[np.random.Generator], reviews: Ints) -> Moods:
    """Draw the effects. reviews: the number of reviews of each user [users]."""
    swell, length = np.minimum(heavy(next(trait), 1.1, 0.9), _MOST_SWELL), np.clip(heavy(next(trait), 50, 1.1), 2, 400)
    ripple = heavy(next(trait), 0.2, 0.9)
    careless_share = np.where(next(trait) > 1.3, 0.35 * sigmoid(1.5 * next(trait) - 1), 0)
    waves, careless, luck = [], [], []
    for user, (rng, rows) in enumerate(zip(rngs, reviews.tolist(), strict=True)):
        slow, fast = _wave(rng, rows, float(length[user])), _wave(rng, rows, _RIPPLE_REVIEWS)
        waves.append(swell[user] * slow + ripple[user] * fast)
        stretches = rng.random(rows // _CARELESS_REVIEWS + 1) < careless_share[user]
        careless.append(np.repeat(stretches, _CARELESS_REVIEWS)[:rows])
        luck.append(rng.standard_normal(rows, np.float32))
    return Moods(np.concatenate(waves), np.concatenate(careless), np.concatenate(luck))


def _wave(rng: np.random.Generator, rows: int, length: float) -> Float32s:
    """A smooth random line of unit variance with a knot every `length` rows, float32 [rows]."""
    knots = rng.standard_normal(int(rows / length) + 2)
    place = np.arange(rows) / length
    left = place.astype(np.int64)
    part = place - left
    line = (1 - part) * knots[left] + part * knots[left + 1]
    return (line / np.sqrt((1 - part) ** 2 + part**2)).astype(np.float32)
