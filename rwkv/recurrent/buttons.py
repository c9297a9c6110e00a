"""What each of the four buttons would lead to: the review with each rating, side by side."""

from dataclasses import replace

import torch

from rwkv.recurrent.features import Review
from rwkv.recurrent.passes import Passes
from rwkv.recurrent.person import Person
from rwkv.recurrent.predict import check_finite, past_states
from rwkv.recurrent.rows import features_of
from rwkv.recurrent.schedule import Button, Curve, in_order
from rwkv.vocab import RATINGS, STREAMS


def buttons(passes: Passes, person: Person, review: Review, retention: float, ordered: bool) -> list[Button]:
    """The four outcomes of a review, in order of the ratings; `review.rating` is not used. Changes nothing."""
    looks = [person.look(replace(review, rating=rating)) for rating in RATINGS]
    features = features_of(looks, person.identities, person.calendar)
    inputs = torch.from_numpy(features.review)
    outputs, after = passes.few(inputs, past_states(person, looks[0]), writes=len(RATINGS))
    check_finite(outputs)
    curves = [Curve(row) for row in outputs.split(1)]
    intervals = [curve.interval(retention) for curve in curves]
    if ordered:
        intervals = in_order(intervals)
    states = [dict(zip(STREAMS, rows, strict=True)) for rows in zip(*(state.split(1) for state in after), strict=True)]
    return [Button(*parts) for parts in zip(RATINGS, curves, intervals, states, strict=True)]
