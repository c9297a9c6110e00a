"""Predictions before an answer: of one review, of many at once, and of the outcome of each button."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rwkv.arrays import Float32s, Floats
from rwkv.errors import CheckpointError
from rwkv.model.columns import KEPT_COLUMNS, columns_of
from rwkv.model.recall import immediate_recall, recall, softmax
from rwkv.model.runner import Runner
from rwkv.recurrent.features import Review
from rwkv.recurrent.intervals import Button, Curve, in_order
from rwkv.recurrent.person import Person
from rwkv.recurrent.rows import Features, Lookup, features_of
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import RATINGS, STREAMS

# Large enough for efficient products, small enough to bound the memory of states. An outlook has five rows.
_CARDS_PER_PASS = 1024
_OUTLOOKS_PER_PASS = 512
# States of a card when it is answered (spec 1).
_NEW, _REVIEW = 0, 2


@dataclass(frozen=True)
class Prediction:
    """The predictions of a review before its answer.

    Attributes:
        p_ahead: Probability of recall by RWKV, from the card's previous review; None if there is none.
        p_imm: Probability of recall by RWKV-P, from everything before the answer; None for a card's first review.
        p_all: Probability of Again, Hard, Good and Easy by RWKV-P, float32 [4]; None for a card's first review.
    """

    p_ahead: float | None
    p_imm: float | None
    p_all: Float32s | None


@dataclass(frozen=True)
class Predictions:
    """The predictions of n reviews: p_ahead [n], p_imm [n] and p_all [n, 4]; NaN where a Prediction has None."""

    p_ahead: Floats
    p_imm: Floats
    p_all: Floats


def empty_predictions(count: int) -> Predictions:
    """Predictions of `count` reviews that are all NaN."""
    return Predictions(np.full(count, np.nan), np.full(count, np.nan), np.full((count, len(RATINGS)), np.nan))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions."""
    return Predictions(
        p_ahead=np.concatenate([part.p_ahead for part in parts]),
        p_imm=np.concatenate([part.p_imm for part in parts]),
        p_all=np.concatenate([part.p_all for part in parts]),
    )


def check_finite(outputs: Float32s) -> None:
    """Check the network's outputs before states are kept.

    Raises:
        CheckpointError: An output is NaN or infinite.
    """
    if not math.isfinite(float(outputs.sum())):
        what, hint = "The model's predictions are not finite.", "use another model"
        raise CheckpointError(what, where="the weights", hint=hint)


def rating_probabilities(outputs: Float32s) -> Float32s:
    """The probabilities of the ratings, [N, 4], from joined outputs [N, outputs] of query rows."""
    return softmax(columns_of(outputs, "p_logits"))


def predict_one(runner: Runner, person: Person, review: Review) -> Prediction:
    """Predict a possible next review, even if it is the card's first, without adding it."""
    lookup = person.look_up(review)
    features = features_of([lookup], person.identities, person.calendar)
    outputs, _ = runner.few_rows(features.query, entity_states(person, lookup), writes=0)
    check_finite(outputs)
    return prediction_of(outputs, ahead(person.store.get((CURVE, lookup.card)), review.elapsed_s))


def prediction_of(outputs: Float32s, p_ahead: float | None) -> Prediction:
    """The prediction from joined outputs [N, outputs], of which the first row is the query."""
    ratings = rating_probabilities(outputs[:1])
    return Prediction(p_ahead, float(immediate_recall(ratings)[0]), ratings[0])


def ahead(curve: Float32s | None, elapsed_s: int) -> float | None:
    """The recall by the curve of the card's previous review; None if there is none."""
    return None if curve is None else float(recall(curve, [elapsed_s])[0])


def entity_states(person: Person, lookup: Lookup) -> list[Float32s | None]:
    """The state of the review's entity in each stream; None for an entity without a review."""
    return [person.store.get(key) for key in zip(STREAMS, lookup.numbers, strict=True)]


def predict_many(runner: Runner, person: Person, reviews: Sequence[Review]) -> Predictions:
    """Predict many possible next reviews, each as if it were the only one, without adding any."""
    starts = range(0, len(reviews), _CARDS_PER_PASS)
    parts = [_predict_together(runner, person, reviews[start : start + _CARDS_PER_PASS]) for start in starts]
    return joined([empty_predictions(0), *parts])


def _predict_together(runner: Runner, person: Person, reviews: Sequence[Review]) -> Predictions:
    lookups = [person.look_up(review) for review in reviews]
    features: Features = features_of(lookups, person.identities, person.calendar)
    numbers = np.array([lookup.numbers for lookup in lookups])
    is_query = np.ones(len(reviews), bool)
    logits = runner.many_rows(features.query, is_query, numbers, person.states, ratings_only=True)
    check_finite(logits)
    ratings = softmax(logits)
    predictions = empty_predictions(len(reviews))
    predictions.p_imm[:], predictions.p_all[:] = immediate_recall(ratings), ratings
    curves = person.states(CURVE, [lookup.card for lookup in lookups])
    known = [i for i, curve in enumerate(curves) if curve is not None]
    if known:
        elapsed_s = [reviews[i].elapsed_s for i in known]
        predictions.p_ahead[known] = recall(np.concatenate([curve for curve in curves if curve is not None]), elapsed_s)
    return predictions


def buttons(runner: Runner, person: Person, review: Review, retention: float, ordered: bool) -> list[Button]:
    """The outcomes of the four ratings of a review, without adding it; `review.rating` is ignored."""
    lookups = [person.look_up(replace(review, rating=rating)) for rating in RATINGS]
    features = features_of(lookups, person.identities, person.calendar)
    outputs, new_states = runner.few_rows(features.review, entity_states(person, lookups[0]), writes=len(RATINGS))
    check_finite(outputs)
    curves = [Curve(row) for row in np.split(outputs, len(outputs))]
    intervals = [curve.interval(retention) for curve in curves]
    if ordered:
        intervals = in_order(intervals)
    by_rating = zip(*(np.split(states, len(states)) for states in new_states), strict=True)
    states = [dict(zip(STREAMS, rows, strict=True)) for rows in by_rating]
    return [Button(*parts) for parts in zip(RATINGS, curves, intervals, states, strict=True)]


@dataclass(frozen=True)
class Outlook:
    """The predictions and curves of n cards.

    Attributes:
        p_imm: Probability of recall by RWKV-P, float64 [n].
        p_all: Probability of Again, Hard, Good and Easy by RWKV-P, float64 [n, 4].
        curve: Forgetting curve since the latest review, as joined outputs of the heads, float32 [n, outputs]; NaN for
            a card without reviews.
        after: Forgetting curves after each of the four buttons, float32 [n, 4, outputs].
    """

    p_imm: Floats
    p_all: Floats
    curve: Float32s
    after: Float32s


def outlook(runner: Runner, person: Person, reviews: Sequence[Review], duration_ms: Sequence[int]) -> Iterator[Outlook]:
    """Yield in parts the outlook of possible next reviews, each as if it were the only one, without adding any.

    Args:
        runner: Runs the network.
        person: The person.
        reviews: The reviews; their ratings, states and durations are ignored.
        duration_ms: Answer time of each rating in milliseconds, [4].
    """
    for start in range(0, len(reviews), _OUTLOOKS_PER_PASS):
        yield _outlook(runner, person, reviews[start : start + _OUTLOOKS_PER_PASS], duration_ms)


def _outlook(runner: Runner, person: Person, reviews: Sequence[Review], duration_ms: Sequence[int]) -> Outlook:
    answers = [answer for review in reviews for answer in _answers(review, duration_ms)]
    lookups = [person.look_up(answer) for answer in answers]
    features = features_of(lookups, person.identities, person.calendar)
    numbers = np.array([lookup.numbers for lookup in lookups])
    # An answer's row runs as a query row: its output includes the answer, and no other row depends on it. So all
    # answers share one past.
    first_answers = slice(None, None, len(RATINGS))
    inputs = np.concatenate([features.query[first_answers], features.review])
    row_numbers = np.concatenate([numbers[first_answers], numbers])
    outputs = runner.many_rows(inputs, np.ones(len(inputs), bool), row_numbers, person.states)
    check_finite(outputs)
    queries, answered = outputs[: len(reviews)], outputs[len(reviews) :]
    ratings = rating_probabilities(queries)
    curves = person.states(CURVE, numbers[first_answers, 0].tolist())
    unknown = np.full((1, KEPT_COLUMNS), np.nan, np.float32)
    return Outlook(
        p_imm=immediate_recall(ratings).astype(np.float64),
        p_all=ratings.astype(np.float64),
        curve=np.concatenate([unknown if curve is None else curve for curve in curves]),
        after=answered.reshape(len(reviews), len(RATINGS), -1),
    )


def _answers(review: Review, duration_ms: Sequence[int]) -> list[Review]:
    state = _NEW if review.elapsed_days == -1 else _REVIEW
    return [
        replace(review, rating=rating, state=state, duration_ms=duration)
        for rating, duration in zip(RATINGS, duration_ms, strict=True)
    ]
