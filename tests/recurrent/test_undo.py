"""After undo, the engine is as if the reviews had never been added."""

from pathlib import Path

import pytest

from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.recurrent.features import reviews_of
from tests.helpers import first_reviews
from tests.recurrent.engines import (
    answered,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    now,
    some_history,
)

TABLE = some_history(51, reviews=80, cards=30)


@pytest.mark.parametrize("count", [1, 7, 79, 80])
def test_undo_equals_never_answering(count: int, tmp_path: Path) -> None:
    kept = len(TABLE) - count
    engine, expected = answered(TABLE), answered(first_reviews(TABLE, kept))
    engine.undo(count)
    assert everything(engine, tmp_path / "a") == everything(expected, tmp_path / "b")
    for card in expected.cards:
        assert_equal_to_the_bit(engine.predict(now(TABLE, card)), expected.predict(now(TABLE, card)))


def test_other_reviews_after_undo(tmp_path: Path) -> None:
    """Cards of the new reviews reuse the numbers of the undone ones."""
    other = RevlogTable(**vars(some_history(52, reviews=80, cards=30)))
    engine = answered(TABLE)
    engine.undo(80)
    for review in reviews_of(other):
        engine.answer(review)
    assert everything(engine, tmp_path / "a") == everything(answered(other), tmp_path / "b")


@pytest.mark.parametrize("memory", [0, 20_000])
def test_states_on_disk_are_undone_too(memory: int, tmp_path: Path) -> None:
    engine, expected = answered(TABLE, memory=memory), answered(first_reviews(TABLE, 40))
    engine.undo(40)
    assert everything(engine, tmp_path / "a") == everything(expected, tmp_path / "b")
    engine.close()


def test_undoing_too_many_reviews_is_refused(tmp_path: Path) -> None:
    engine = answered(TABLE, undo_limit=5)
    before = everything(engine, tmp_path / "a")
    for count in (6, -1):
        with pytest.raises(InputError, match="0 to 5"):
            engine.undo(count)
        assert everything(engine, tmp_path / "b") == before
    engine.undo(0)
    engine.undo(5)
    with pytest.raises(InputError):
        engine.undo()


def test_reviews_fed_in_bulk_cannot_be_undone() -> None:
    engine = engine_for(TABLE)
    engine.feed(first_reviews(TABLE, 40))
    with pytest.raises(InputError, match="0 to 0"):
        engine.undo()
    for review in list(reviews_of(TABLE))[40:45]:
        engine.answer(review)
    engine.undo(5)
    assert engine.reviews == 40
