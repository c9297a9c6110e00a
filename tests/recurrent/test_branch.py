"""A branch continues like its engine and does not change it."""

from pathlib import Path

import pytest

from rwkv.recurrent.features import reviews_of
from tests.recurrent.engines import (
    after,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    next_review,
    now,
    some_history,
)


@pytest.mark.parametrize("memory", [1_000_000_000, 10_000])
def test_a_branch_continues_without_changing_its_engine(tmp_path: Path, memory: int) -> None:
    """With states in memory and on disk."""
    table = some_history()
    engine = engine_for(table, memory=memory)
    engine.feed(table.part(slice(80)))
    before = everything(engine, tmp_path / "before")
    branch, whole = engine.branch(), engine_for(table)
    assert everything(branch, tmp_path / "branch") == before
    branch.feed(after(table, 80))
    whole.feed(table.part(slice(80)))
    whole.feed(after(table, 80))
    assert everything(branch, tmp_path / "ours") == everything(whole, tmp_path / "whole")
    card = next(iter(reviews_of(table))).card
    assert_equal_to_the_bit(branch.predict(now(table, card)), whole.predict(now(table, card)))
    branch.close()
    assert everything(engine, tmp_path / "after") == before
    engine.close()


def test_branches_are_independent() -> None:
    table = some_history(seed=5)
    engine = engine_for(table)
    engine.feed(table)
    review = next_review(table)
    first, second = engine.branch(), engine.branch()
    expected = first.answer(review)
    assert_equal_to_the_bit(second.answer(review), expected)
    assert (first.reviews, second.reviews, engine.reviews) == (len(table) + 1, len(table) + 1, len(table))
    for one in (first, second, engine):
        one.close()
