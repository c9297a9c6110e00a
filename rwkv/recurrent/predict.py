"""Predictions before an answer: of one review, or of many at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.errors import CheckpointError
from rwkv.model.curve import CURVES, immediate_recall, recall
from rwkv.recurrent.features import Review
from rwkv.recurrent.passes import Passes
from rwkv.recurrent.person import Person
from rwkv.recurrent.rows import Features, Look, features_of
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import RATINGS, STREAMS

Floats = npt.NDArray[np.float64]

# Cards that are predicted together: large products, and states of bounded size.
_TOGETHER = 1024


@dataclass(frozen=True)
class Prediction:
    """What was said of a review before its answer.

    p_ahead: probability of recall by RWKV, from the card's review before; None where the history holds none. p_imm: by
    RWKV-P, from what is known just before the answer, and p_all float32 [4]: by RWKV-P, of Again, Hard, Good, Easy;
    both None where the review says that it is the card's first.
    """

    p_ahead: float | None
    p_imm: float | None
    p_all: npt.NDArray[np.float32] | None


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
    return outputs[:, 2 * CURVES :]


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
