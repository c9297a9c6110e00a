"""A simulated answer changes its own card as a real one would, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from rwkv.arrays import Float32s
from rwkv.data.history import RevlogTable
from rwkv.errors import HistoryError
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from rwkv.recurrent.simulated import feed_simulated
from rwkv.recurrent.state_store import Key
from rwkv.vocab import SECONDS_PER_DAY, STREAMS
from tests.recurrent.engines import answered, assert_equal_to_the_bit, now, some_history

# In probability (spec 7): float32 sums in another order.
TOLERANCE = 2e-5
HISTORY = some_history()
DAYS = 3


def answers(cards: list[int]) -> RevlogTable:
    """One answer Good of each card, some days after the history, with all cards' latest reviews as long ago."""
    n = len(cards)
    return replace(
        HISTORY,
        review_th=HISTORY.review_th[-1] + 1 + np.arange(n, dtype=np.int32),
        card=np.array(cards, np.int32),
        rating=np.full(n, 3, np.int8),
        state=np.full(n, 2, np.int8),
        duration_ms=np.full(n, 4000),
        day_offset=np.full(n, HISTORY.day_offset[-1] + DAYS, np.int32),
        elapsed_days=np.full(n, DAYS, np.int32),
        elapsed_s=np.full(n, DAYS * SECONDS_PER_DAY),
    )


def states(engine: Engine) -> dict[Key, Float32s]:
    person = engine._person
    keys = [(stream, number) for stream in STREAMS for number in range(len(person.identities.numbers[stream]))]
    stored = {key: person.store.get(key) for key in keys}
    return {key: state.copy() for key, state in stored.items() if state is not None}


@pytest.fixture
def engine() -> Engine:
    return answered(HISTORY)


def test_the_cards_curve_and_state_are_those_of_a_real_answer(engine: Engine) -> None:
    real, seconds = answered(HISTORY), np.geomspace(1, 1e8, 9)
    engine.feed_simulated(answers([5]))
    real.feed(answers([5]))
    np.testing.assert_allclose(engine.curve(5)(seconds), real.curve(5)(seconds), rtol=0, atol=TOLERANCE)
    # A state's numbers are of the size of 1.
    np.testing.assert_allclose(states(engine)["card_id", 5], states(real)["card_id", 5], rtol=0, atol=1e-4)
    assert (engine.reviews, engine.fingerprint) == (real.reviews, real.fingerprint)


def test_nothing_but_the_cards_changes(engine: Engine) -> None:
    before, cards = states(engine), [7, 2, 11]
    engine.feed_simulated(answers(cards))
    after = states(engine)
    changed = {key for key, state in after.items() if not np.array_equal(state, before[key])}
    assert changed == {("card_id", card) for card in cards}


def test_no_answer_reads_another(engine: Engine) -> None:
    """The counters of a history go on, so the first answer alone equals the first of many."""
    alone, seconds = answered(HISTORY), np.geomspace(1, 1e8, 9)
    engine.feed_simulated(answers([7, 2, 11]))
    alone.feed_simulated(answers([7]))
    np.testing.assert_allclose(engine.curve(7)(seconds), alone.curve(7)(seconds), rtol=0, atol=TOLERANCE)


def test_a_refused_answer_changes_nothing(engine: Engine) -> None:
    before, question = states(engine), now(HISTORY, 5)
    prediction = engine.predict(question)
    wrong = replace(answers([5, 6]), rating=np.array([3, 9], np.int8))
    with pytest.raises(HistoryError, match="rating"):
        engine.feed_simulated(wrong)
    with pytest.raises(HistoryError, match=r"A card occurs twice\.(.|\n)*row 3: .* of card 5"):
        engine.feed_simulated(answers([5, 6, 5]))
    assert_equal_to_the_bit(engine.predict(question), prediction)
    assert all(np.array_equal(state, before[key]) for key, state in states(engine).items())


def test_the_size_of_a_pass_does_not_matter(engine: Engine) -> None:
    whole, cards, seconds = answered(HISTORY), [7, 2, 11, 3, 5], np.geomspace(1, 1e8, 9)
    whole.feed_simulated(answers(cards))
    feed_simulated(engine._runner, engine._person, list(reviews_of(answers(cards))), per_pass=2)
    for card in cards:
        np.testing.assert_allclose(engine.curve(card)(seconds), whole.curve(card)(seconds), rtol=0, atol=TOLERANCE)
