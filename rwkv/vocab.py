"""The words used everywhere: tensor dimensions, streams, columns and units.

Dimension letters, in names and comments: N rows (review and query rows together), R reviews, S sequences of a batch,
G groups of a stream, B chunks, T rows of a chunk, C channels, H heads, K channels of a head, F stored features,
E inputs of the network, M rows carried over from an earlier batch, D columns of a time mixer's joined projections.
Other letters and words are sizes that are explained where they are used.
"""

SECONDS_PER_DAY = 86_400

# The five streams in the order in which the network runs them (spec 4).
STREAMS = ("card_id", "deck_id", "note_id", "preset_id", "user_id")

RATINGS = (1, 2, 3, 4)

# The 24 stored columns, in order (spec 3).
FEATURE_NAMES = (
    "scaled_elapsed_days",
    "scaled_elapsed_days_cumulative",
    "scaled_elapsed_seconds",
    "elapsed_seconds_sin",
    "elapsed_seconds_cos",
    "scaled_elapsed_seconds_cumulative",
    "elapsed_seconds_cumulative_sin",
    "elapsed_seconds_cumulative_cos",
    "scaled_duration",
    "rating_1",
    "rating_2",
    "rating_3",
    "rating_4",
    "note_id_is_nan",
    "deck_id_is_nan",
    "preset_id_is_nan",
    "day_offset_diff",
    "day_of_week",
    "diff_new_cards",
    "diff_reviews",
    "cum_new_cards_today",
    "cum_reviews_today",
    "scaled_state",
    "is_query",
)
