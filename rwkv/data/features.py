"""The 24 stored columns of a row: one definition of every formula, for whole histories and single reviews (spec 3)."""

import numpy as np
import numpy.typing as npt

from rwkv.data.history import ReviewContext
from rwkv.vocab import FEATURE_NAMES, RATINGS, SECONDS_PER_DAY

Floats = npt.NDArray[np.float64]

# Columns that tell how the review went, unknown in its query row.
_ANSWER_COLUMNS = [FEATURE_NAMES.index(name) for name in ("scaled_duration", "scaled_state")] + [
    FEATURE_NAMES.index(f"rating_{rating}") for rating in RATINGS
]
_IS_QUERY = FEATURE_NAMES.index("is_query")


def scale(x: npt.ArrayLike, mean: float, deviation: float) -> Floats:
    """s(x; m, d) = (x - m) / d."""
    return (np.asarray(x, np.float64) - mean) / deviation


def log_elapsed(elapsed: npt.ArrayLike) -> Floats:
    """ln(1 + 1e-5 + elapsed); 0 for the -1 of a first review, and for sums of several such."""
    elapsed = np.asarray(elapsed, np.float64)
    return np.where(elapsed <= -1, 0.0, np.log(1 + 1e-5 + np.maximum(elapsed, 0)))


def log_count(count: npt.ArrayLike) -> Floats:
    """ln(3 + count)."""
    return np.log(3 + np.asarray(count, np.float64))


def time_of_day(elapsed_s: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Sine and cosine of the phase of `elapsed_s` within a day; the modulus is floored, so -1 is 86399."""
    angle = 2 * np.pi * np.mod(elapsed_s, SECONDS_PER_DAY) / SECONDS_PER_DAY
    return np.sin(angle), np.cos(angle)


def review_features(context: ReviewContext, day: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The columns of review rows.

    context: columns [R]. day [R]: day_offset relative to the first day of the sequence.
    Returns float32 [R, 24], computed in float64. Source: spec 3.
    """
    c = context
    ratings = [c.rating == rating for rating in RATINGS]
    columns = [
        scale(log_elapsed(c.elapsed_days), 1.51, 1.62),
        scale(log_elapsed(c.elapsed_days_cumulative), 2.14, 2.25),
        scale(log_elapsed(c.elapsed_s), 9.96, 5.21),
        *time_of_day(c.elapsed_s),
        scale(log_elapsed(c.elapsed_s_cumulative), 10.86, 5.8),
        *time_of_day(c.elapsed_s_cumulative),
        scale(np.log(10 + c.duration_ms.astype(np.float64)), 8.9, 1.07),
        *ratings,
        c.note_missing,
        c.deck_missing,
        c.preset_missing,
        np.log(np.log(np.e + c.day_offset_diff)),
        (np.mod(day, 7) - 3) / 3,
        scale(log_count(c.new_cards_since), 2.945, 2.011),
        scale(log_count(c.reviews_since), 4.64, 2.59),
        scale(log_count(c.new_cards_today), 2.55, 1.41),
        scale(log_count(c.reviews_today), 4.59, 1.30),
        c.state - 2,
        np.zeros(len(day)),
    ]
    return np.stack(columns, axis=1, dtype=np.float32, casting="unsafe")


def query_features(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The query rows of the same reviews: [R, 24] with everything about the answer blanked."""
    query = features.copy()
    query[:, _ANSWER_COLUMNS] = 0
    query[:, _IS_QUERY] = 1
    return query
