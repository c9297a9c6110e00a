"""The formulas of the 24 stored columns of a row, for whole histories and single reviews (spec 3)."""

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s, Floats, Ints
from rwkv.data.history import ReviewContext
from rwkv.vocab import FEATURE_NAMES, RATINGS, SECONDS_PER_DAY

# Columns that depend on the answer; blank in the query row.
_ANSWER_COLUMNS = [FEATURE_NAMES.index(name) for name in ("scaled_duration", "scaled_state")] + [
    FEATURE_NAMES.index(f"rating_{rating}") for rating in RATINGS
]
_RATINGS = np.array(RATINGS)[:, None]

# Means and deviations [4, 1] of elapsed days, their sum, elapsed seconds and their sum; and of columns 19 to 22.
# Several columns share an operation, because the time for a single review depends on the number of operations.
_ELAPSED_SCALES = np.array([(1.51, 1.62), (2.14, 2.25), (9.96, 5.21), (10.86, 5.8)]).T[:, :, None]
_COUNT_SCALES = np.array([(2.945, 2.011), (4.64, 2.59), (2.55, 1.41), (4.59, 1.30)]).T[:, :, None]

_IS_QUERY = FEATURE_NAMES.index("is_query")


def scale(x: npt.ArrayLike, mean: float | Floats, deviation: float | Floats) -> Floats:
    """(x - mean) / deviation, where mean and deviation may differ by row of x."""
    return (np.asarray(x, np.float64) - mean) / deviation


def log_elapsed(elapsed: npt.ArrayLike) -> Floats:
    """ln(1 + 1e-5 + elapsed); 0 for the -1 of a first review, and for negative sums."""
    elapsed = np.asarray(elapsed, np.float64)
    return np.where(elapsed <= -1, 0.0, np.log(1 + 1e-5 + np.maximum(elapsed, 0)))


def log_count(count: npt.ArrayLike) -> Floats:
    """ln(3 + count)."""
    return np.log(3 + np.asarray(count, np.float64))


def time_of_day(elapsed_s: Ints) -> tuple[Floats, Floats]:
    """Sine and cosine of the phase of `elapsed_s` in a day. The modulus is floored, so -1 becomes 86399."""
    angle = 2 * np.pi * np.mod(elapsed_s, SECONDS_PER_DAY) / SECONDS_PER_DAY
    return np.sin(angle), np.cos(angle)


def review_features(context: ReviewContext, day: Ints) -> Float32s:
    """The stored columns of review rows.

    Args:
        context: Integer columns [R].
        day: The day_offset relative to the first day of the sequence [R].

    Returns:
        float32 [R, 24], computed in float64.

    Source: spec 3.
    """
    c = context
    elapsed_s = np.array([c.elapsed_s, c.elapsed_s_cumulative])
    elapsed = np.array([c.elapsed_days, c.elapsed_days_cumulative, *elapsed_s])
    counts = np.array([c.new_cards_since, c.reviews_since, c.new_cards_today, c.reviews_today])
    scaled_elapsed = scale(log_elapsed(elapsed), *_ELAPSED_SCALES)
    (sine, sine_cumulative), (cosine, cosine_cumulative) = time_of_day(elapsed_s)
    columns = [
        *scaled_elapsed[:3],
        sine,
        cosine,
        scaled_elapsed[3],
        sine_cumulative,
        cosine_cumulative,
        scale(np.log(10 + c.duration_ms.astype(np.float64)), 8.9, 1.07),
        *(c.rating == _RATINGS),
        c.note_missing,
        c.deck_missing,
        c.preset_missing,
        np.log(np.log(np.e + c.day_offset_diff)),
        (np.mod(day, 7) - 3) / 3,
        *scale(log_count(counts), *_COUNT_SCALES),
        c.state - 2,
    ]
    features = np.zeros((len(day), len(FEATURE_NAMES)), np.float32)
    for i, column in enumerate(columns):
        features[:, i] = column
    return features


def query_features(features: Float32s) -> Float32s:
    """The stored columns [R, 24] of the reviews' query rows, without the answer."""
    query = features.copy()
    query[:, _ANSWER_COLUMNS] = 0
    query[:, _IS_QUERY] = 1
    return query
