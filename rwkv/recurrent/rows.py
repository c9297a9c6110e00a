"""The network's inputs of single reviews, equal to the rows of a batch of the whole history."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.data.features import query_features, review_features
from rwkv.data.segments import has_query
from rwkv.model.spec import CODES
from rwkv.recurrent.features import Counts, Days, PastCounters, Review, context_of
from rwkv.recurrent.identities import Calendar, Identities
from rwkv.vocab import STREAMS

_CARD, _NOTE = STREAMS.index("card_id"), STREAMS.index("note_id")

# The number of a review's entity in each stream, in the network's order.
Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Lookup:
    """A review's data from the past.

    Attributes:
        counts: Its columns of a ReviewContext.
        days: Its day, and the day of its card's first review.
        numbers: Number of its entity in each stream.
        note_code: Number whose code its note has.
    """

    counts: Counts
    days: Days
    numbers: Numbers
    note_code: int

    @property
    def card(self) -> int:
        """Number of its card."""
        return self.numbers[_CARD]


def look_up(review: Review, past: PastCounters, identities: Identities) -> Lookup:
    """Look up a review's data in the past, without adding the review."""
    entities = (review.card, review.deck, review.note, review.preset, 0)
    numbers = tuple(map(identities.number, STREAMS, entities))
    note_code = identities.note_code(numbers[_NOTE], review.shares_note_code)
    return Lookup(past.counts(review), past.days(review), numbers, note_code)


@dataclass(frozen=True)
class Features:
    """The rows of R reviews.

    Attributes:
        review: Inputs of the review rows, float32 [R, E].
        query: Inputs of the query rows, float32 [R, E].
        queried: Whether the review has a query row in a history, bool [R].
    """

    review: Float32s
    query: Float32s
    queried: Bools


def features_of(lookups: Sequence[Lookup], identities: Identities, calendar: Calendar) -> Features:
    """Encode the network's inputs of reviews."""
    context = context_of([lookup.counts for lookup in lookups])
    days = [lookup.days.day for lookup in lookups]
    features = review_features(context, np.array(days))
    coded = dict(zip(STREAMS, zip(*(lookup.numbers for lookup in lookups), strict=True), strict=True))
    coded["note_id"] = tuple(lookup.note_code for lookup in lookups)
    encodings = [identities.codes(code.stream, coded[code.stream]) for code in CODES]
    encodings.append(calendar.rows(days, [lookup.days.first_day for lookup in lookups]))
    return Features(
        review=np.concatenate([features, *encodings], 1),
        query=np.concatenate([query_features(features), *encodings], 1),
        queried=has_query(context.elapsed_days.astype(np.int32)),
    )


def review_rows(lookup: Lookup, identities: Identities, calendar: Calendar) -> Float32s:
    """The rows of one review, float32 [1 or 2, E]: the query row, if it has one, and the review row."""
    features = features_of([lookup], identities, calendar)
    return np.concatenate([features.query[features.queried], features.review])


@dataclass(frozen=True)
class HistoryRows:
    """N rows in time order, each query row just before its review row.

    Attributes:
        inputs: The network's inputs, float32 [N, E].
        is_query: Whether the row is a query, bool [N].
        review: Index of the row's review, int64 [N].
        numbers: Number of the row's entity in each stream, int64 [N, streams].
    """

    inputs: Float32s
    is_query: Bools
    review: Ints
    numbers: Ints


def history_rows(lookups: Sequence[Lookup], identities: Identities, calendar: Calendar) -> HistoryRows:
    """All rows of consecutive reviews."""
    features = features_of(lookups, identities, calendar)
    review = np.repeat(np.arange(len(lookups)), 1 + features.queried)
    is_query = np.append(review[1:] == review[:-1], False)
    inputs = np.where(is_query[:, None], features.query[review], features.review[review])
    numbers = np.array([lookup.numbers for lookup in lookups])[review]
    return HistoryRows(inputs, is_query, review, numbers)
