"""All that can be said of many cards now: predictions, their curves, and the curves after each of the four buttons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rwkv.model.curve import immediate_recall
from rwkv.model.packed import outputs_size
from rwkv.recurrent.features import Review
from rwkv.recurrent.passes import Passes
from rwkv.recurrent.person import Person
from rwkv.recurrent.predict import Floats, check_finite, p_logits
from rwkv.recurrent.rows import features_of
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import RATINGS

# Cards that go through the network together, five rows each.
_TOGETHER = 512

# The state that an answer is given in: see spec 1.
_NEW, _REVIEW = 0, 2


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
    for start in range(0, len(reviews), _TOGETHER):
        yield _outlook(passes, person, reviews[start : start + _TOGETHER], duration_ms)


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
    unknown = torch.full((1, outputs_size(passes.network.spec)), torch.nan)
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
