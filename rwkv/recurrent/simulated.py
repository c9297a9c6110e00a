"""Adding simulated answers, which change nothing but their own cards."""

from collections.abc import Sequence

import numpy as np

from rwkv.arrays import Float32s
from rwkv.model.runner import Runner, StatesAfter
from rwkv.recurrent.bulk import adding
from rwkv.recurrent.features import Review
from rwkv.recurrent.person import Person
from rwkv.recurrent.predictions import check_finite
from rwkv.recurrent.rows import features_of
from rwkv.recurrent.state_store import CURVE, Key
from rwkv.vocab import STREAMS

# Each row has its own copy of the states of all streams, so fewer rows than in other passes.
ANSWERS_PER_PASS = 256
_CARD_STREAM = "card_id"


def feed_simulated(runner: Runner, person: Person, reviews: Sequence[Review], per_pass: int = ANSWERS_PER_PASS) -> None:
    """Add simulated reviews of different cards, none of which the network sees when it reads another.

    Only the states and curves of the cards follow. Notes, decks, presets and the person stay as their real reviews
    left them: drawn answers say nothing about the person, and a run of bad luck must not lower all later predictions.
    """
    for start in range(0, len(reviews), per_pass):
        _feed(runner, person, reviews[start : start + per_pass])


def _feed(runner: Runner, person: Person, reviews: Sequence[Review]) -> None:
    states: dict[Key, Float32s] = {}
    with adding(person, reviews) as lookups:
        numbers = np.array([lookup.numbers for lookup in lookups])

        def load(stream: str, rows: Sequence[int]) -> list[Float32s | None]:
            return person.states(stream, numbers[rows, STREAMS.index(stream)].tolist())

        def keep(after: StatesAfter) -> None:
            if after.stream == _CARD_STREAM:
                keys = ((_CARD_STREAM, lookups[row].card) for row in after.entities)
                states.update(zip(keys, after.states, strict=True))

        inputs = features_of(lookups, person.identities, person.calendar).review
        # Every row is an entity of its own in every stream, so no row sees another.
        own = np.repeat(np.arange(len(reviews))[:, None], len(STREAMS), 1)
        outputs = runner.many_rows(inputs, np.zeros(len(reviews), bool), own, load, keep)
        check_finite(outputs)
        states.update({(CURVE, lookup.card): outputs[row : row + 1].copy() for row, lookup in enumerate(lookups)})
    person.store.put(states)
