"""A review that cannot be one is refused by name, and changes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import HistoryError
from tests.recurrent.engines import answered, assert_equal_to_the_bit, everything, next_review, some_history

TABLE = some_history(71, reviews=30, cards=5)
GOOD = next_review(TABLE)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"rating": 7}, "rating"),
        ({"rating": 0}, "rating"),
        ({"rating": float("nan")}, "rating"),
        ({"rating": 3.0}, "rating"),
        ({"rating": True}, "rating"),
        ({"elapsed_s": float("nan")}, "elapsed_s"),
        ({"duration_ms": None}, "duration_ms"),
        ({"elapsed_days": "3"}, "elapsed_days"),
        ({"elapsed_s": 2**63}, "elapsed_s"),
        ({"state": 1000}, "state"),
        ({"day_offset": GOOD.day_offset - 3}, "day_offset"),
        ({"review_th": 30}, "review_th"),
        ({"review_th": -1}, "review_th"),
    ],
)
def test_refused(changed: dict[str, object], word: str, tmp_path: Path) -> None:
    engine = answered(TABLE)
    before = everything(engine, tmp_path / "before")
    broken = replace(GOOD, **changed)
    with pytest.raises(HistoryError) as caught:
        engine.answer(broken)
    assert f"review {broken.review_th} of card {GOOD.card}" in str(caught.value)
    assert word in str(caught.value)
    assert everything(engine, tmp_path / "after") == before
    assert_equal_to_the_bit(engine.answer(GOOD), answered(TABLE).answer(GOOD))


def test_whole_numbers_of_numpy_are_taken() -> None:
    names = [name for name, value in vars(GOOD).items() if type(value) is int]
    of_numpy = replace(GOOD, **{name: np.int64(getattr(GOOD, name)) for name in names})
    ours, expected = answered(TABLE), answered(TABLE)
    assert_equal_to_the_bit(ours.answer(of_numpy), expected.answer(GOOD))
    assert ours.fingerprint == expected.fingerprint


def test_clocks_that_were_set_back() -> None:
    """As the reader of histories: intervals below -1 and negative durations are 0."""
    back = replace(GOOD, elapsed_days=-4, elapsed_s=-90_000, duration_ms=-5)
    taken = replace(GOOD, elapsed_days=0, elapsed_s=0, duration_ms=0)
    ours, expected = answered(TABLE), answered(TABLE)
    assert_equal_to_the_bit(ours.answer(back), expected.answer(taken))
    assert ours.fingerprint == expected.fingerprint
