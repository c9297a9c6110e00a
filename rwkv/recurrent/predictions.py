"""Predictions before an answer: of one review, of many at once, and of what each of the four buttons would lead to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Float32s, Floats
from rwkv.errors import CheckpointError
from rwkv.model.curve import immediate_recall, recall
from rwkv.model.heads import KEPT_COLUMNS, columns_of
from rwkv.recurrent.features import Review
from rwkv.recurrent.forward import Passes
from rwkv.recurrent.intervals import Button, Curve, in_order
from rwkv.recurrent.person import Person
from rwkv.recurrent.rows import Features, Look, features_of
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import RATINGS, STREAMS

# Cards that are predicted together: large products, and states of bounded size.
_TOGETHER = 1024

# With five rows each.
_OUTLOOKS_TOGETHER = 512
# The state that an answer is given in: see spec 1.
_NEW, _REVIEW = 0, 2


@dataclass(frozen=True)
class Prediction:
    """What was said of a review before its answer.

    p_ahead: probability of recall by RWKV, from the card's review before; None where the history holds none. p_imm: by
    RWKV-P, from what is known just before the answer, and p_all float32 [4]: by RWKV-P, of Again, Hard, Good, Easy;
    both None where the review says that it is the card's first.
    """

    p_ahead: float | None
    p_imm: float | None
    p_all: Float32s | None


@dataclass(frozen=True)
class Predictions:
    """The same of many: p_ahead, p_imm [n], p_all [n, 4]; NaN where a Prediction holds None."""

    p_ahead: Floats
    p_imm: Floats
    p_all: Floats


def nothing_said(count: int) -> Predictions:
    """Predictions to be filled in."""
    return Predictions(np.full(count, np.nan), np.full(count, np.nan), np.full((count, len(RATINGS)), np.nan))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Predictions one after another."""
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Predictions(*map(np.concatenate, columns))


def check_finite(outputs: Tensor) -> None:
    """Raises CheckpointError where the network's outputs are no numbers; no state must be kept then."""
    if not math.isfinite(outputs.sum().item()):
        raise CheckpointError("The model's predictions are not finite.", hint="use another model")


def p_logits(outputs: Tensor) -> Tensor:
    """The rating logits [N, 4] of outputs [N, 260]."""
    return columns_of(outputs, "p_logits")


def predict_one(passes: Passes, person: Person, review: Review) -> Prediction:
    """What is said of a review, whether or not it says that it is the card's first. Changes nothing."""
    found = person.look(review)
    features = features_of([found], person.identities, person.calendar)
    outputs, _ = passes.few(torch.from_numpy(features.query), past_states(person, found), writes=0)
    check_finite(outputs)
    return said_of(outputs, ahead(person.store.get((CURVE, found.numbers[0])), review.elapsed_s))


def said_of(outputs: Tensor, p_ahead: float | None) -> Prediction:
    """The prediction of a query row, the first of the outputs."""
    ratings = p_logits(outputs)[:1]
    return Prediction(p_ahead, immediate_recall(ratings).item(), ratings.softmax(-1)[0].numpy())


def ahead(curve: Tensor | None, elapsed_s: int) -> float | None:
    """Recall by the curve of the card's review before; None where there was none."""
    return None if curve is None else recall(curve, torch.tensor([elapsed_s], dtype=torch.float64)).item()


def past_states(person: Person, found: Look) -> list[Tensor | None]:
    """By stream the state of the review's entity, None where it has no review."""
    return [person.store.get(key) for key in zip(STREAMS, found.numbers, strict=True)]


def predict_many(passes: Passes, person: Person, reviews: Sequence[Review]) -> Predictions:
    """What is said of each of many reviews that might come next, none knowing of the others. Changes nothing."""
    starts = range(0, len(reviews), _TOGETHER)
    parts = [_predict_together(passes, person, reviews[start : start + _TOGETHER]) for start in starts]
    return joined([nothing_said(0), *parts])


def _predict_together(passes: Passes, person: Person, reviews: Sequence[Review]) -> Predictions:
    looks = [person.look(review) for review in reviews]
    features: Features = features_of(looks, person.identities, person.calendar)
    numbers = torch.tensor([found.numbers for found in looks])
    is_query = torch.ones(len(reviews), dtype=torch.bool)
    x = passes.many(torch.from_numpy(features.query), is_query, numbers, person.states)
    ratings = passes.ratings(x)
    check_finite(ratings)
    said = nothing_said(len(reviews))
    said.p_imm[:], said.p_all[:] = immediate_recall(ratings).numpy(), ratings.softmax(-1).numpy()
    curves = person.states(CURVE, [found.numbers[0] for found in looks])
    known = [i for i, curve in enumerate(curves) if curve is not None]
    if known:
        elapsed_s = torch.tensor([reviews[i].elapsed_s for i in known], dtype=torch.float64)
        said.p_ahead[known] = recall(torch.cat([curve for curve in curves if curve is not None]), elapsed_s).numpy()
    return said


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


@dataclass(frozen=True)
class Outlook:
    """Of n cards. p_imm [n], p_all [n, 4]: as of Predictions. Outputs of the heads, float32, each a forgetting curve:
    curve [n, 260] since the latest review, NaN without one; after [n, 4, 260] after each of the four buttons.
    """

    p_imm: Floats
    p_all: Floats
    curve: Tensor
    after: Tensor


def outlook(passes: Passes, person: Person, reviews: Sequence[Review], duration_ms: Sequence[int]) -> Iterator[Outlook]:
    """What is said of reviews that might come next, none knowing of the others, in parts. Changes nothing.

    duration_ms: of an answer of each rating [4]. Ratings, states and durations of the reviews are not used.
    """
    for start in range(0, len(reviews), _OUTLOOKS_TOGETHER):
        yield _outlook(passes, person, reviews[start : start + _OUTLOOKS_TOGETHER], duration_ms)


def _outlook(passes: Passes, person: Person, reviews: Sequence[Review], duration_ms: Sequence[int]) -> Outlook:
    answers = [answer for review in reviews for answer in _answers(review, duration_ms)]
    looks = [person.look(answer) for answer in answers]
    features = features_of(looks, person.identities, person.calendar)
    numbers = np.array([found.numbers for found in looks])
    # The row of an answer hears itself, but as a query row it is heard by no other: so all answers share one past.
    asked = slice(None, None, len(RATINGS))
    inputs = torch.from_numpy(np.concatenate([features.query[asked], features.review]))
    of_rows = torch.from_numpy(np.concatenate([numbers[asked], numbers]))
    x = passes.many(inputs, torch.ones(len(inputs), dtype=torch.bool), of_rows, person.states)
    outputs = passes.read_out(x)
    check_finite(outputs)
    queries, after = outputs[: len(reviews)], outputs[len(reviews) :]
    ratings = p_logits(queries)
    curves = person.states(CURVE, numbers[asked, 0].tolist())
    unknown = torch.full((1, KEPT_COLUMNS), torch.nan)
    return Outlook(
        p_imm=immediate_recall(ratings).numpy().astype(np.float64),
        p_all=ratings.softmax(-1).numpy().astype(np.float64),
        curve=torch.cat([unknown if curve is None else curve for curve in curves]),
        after=after.reshape(len(reviews), len(RATINGS), -1),
    )


def _answers(review: Review, duration_ms: Sequence[int]) -> list[Review]:
    state = _NEW if review.elapsed_days == -1 else _REVIEW
    return [
        replace(review, rating=rating, state=state, duration_ms=duration)
        for rating, duration in zip(RATINGS, duration_ms, strict=True)
    ]
