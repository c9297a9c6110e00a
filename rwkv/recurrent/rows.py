"""From reviews to the network's inputs: the rows that a batch of the whole history would have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Bools, Float32s
from rwkv.data.features import query_features, review_features
from rwkv.data.segments import has_query
from rwkv.model.spec import CODES
from rwkv.recurrent.features import Counts, Days, PastCounters, Review, context_of
from rwkv.recurrent.identities import Calendar, Identities
from rwkv.vocab import STREAMS

_NOTE = STREAMS.index("note_id")

# By stream in the network's order: the number of a review's entity.
Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Look:
    """What the past says of one review: its counts, its days, the number of its entity in every stream, and the number
    whose code its note has."""

    counts: Counts
    days: Days
    numbers: Numbers
    note_code: int


def look(review: Review, past: PastCounters, identities: Identities) -> Look:
    """See a review without taking it in."""
    entities = (review.card, review.deck, review.note, review.preset, 0)
    numbers = tuple(map(identities.number, STREAMS, entities))
    note_code = identities.note_code(numbers[_NOTE], review.shares_note_code)
    return Look(past.counts(review), past.days(review), numbers, note_code)


@dataclass(frozen=True)
class Features:
    """The rows of R reviews. review [R, 92], query [R, 92] float32; queried bool [R]: has a query row in a history."""

    review: Float32s
    query: Float32s
    queried: Bools


def features_of(looks: Sequence[Look], identities: Identities, calendar: Calendar) -> Features:
    """The network's inputs of reviews."""
    context = context_of([look.counts for look in looks])
    days = [look.days[0] for look in looks]
    features = review_features(context, np.array(days))
    coded = dict(zip(STREAMS, zip(*(look.numbers for look in looks), strict=True), strict=True))
    coded["note_id"] = tuple(look.note_code for look in looks)
    encodings = [identities.codes(code.stream, coded[code.stream]) for code in CODES]
    encodings.append(calendar.rows(days, [look.days[1] for look in looks]))
    return Features(
        review=np.concatenate([features, *encodings], 1),
        query=np.concatenate([query_features(features), *encodings], 1),
        queried=has_query(context.elapsed_days.astype(np.int32)),
    )


def rows_of_one(found: Look, identities: Identities, calendar: Calendar) -> Tensor:
    """The rows of one review, float32 [1 or 2, 92]: the query row, where it has one, and the review row."""
    features = features_of([found], identities, calendar)
    return torch.from_numpy(np.concatenate([features.query[features.queried], features.review]))


@dataclass(frozen=True)
class Rows:
    """N rows in time order, a review's query row just before its review row.

    inputs float32 [N, 92]. is_query bool [N]. review int64 [N]: which review a row is of. numbers int64 [N, streams].
    """

    inputs: Tensor
    is_query: Tensor
    review: Tensor
    numbers: Tensor


def rows_of(looks: Sequence[Look], identities: Identities, calendar: Calendar) -> Rows:
    """All rows of reviews that follow one another."""
    features = features_of(looks, identities, calendar)
    review = np.repeat(np.arange(len(looks)), 1 + features.queried)
    is_query = np.append(review[1:] == review[:-1], False)
    inputs = np.where(is_query[:, None], features.query[review], features.review[review])
    numbers = np.array([look.numbers for look in looks])[review]
    return Rows(*map(torch.from_numpy, (inputs, is_query, review, numbers)))
