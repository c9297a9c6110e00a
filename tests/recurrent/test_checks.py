"""Invalid reviews are refused with an error that names them, and change nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import HistoryError, InputError
from tests.recurrent.engines import (
    answered,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    next_review,
    now,
    some_history,
)

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
def test_invalid_values_are_refused(changed: dict[str, object], word: str, tmp_path: Path) -> None:
    engine = answered(TABLE)
    before = everything(engine, tmp_path / "before")
    broken = replace(GOOD, **changed)  # type: ignore[arg-type]
    with pytest.raises(HistoryError) as caught:
        engine.answer(broken)
    assert f"review {broken.review_th} of card {GOOD.card}" in str(caught.value)
    assert word in str(caught.value)
    assert everything(engine, tmp_path / "after") == before
    assert_equal_to_the_bit(engine.answer(GOOD), answered(TABLE).answer(GOOD))


def test_numpy_integers_are_accepted() -> None:
    names = [name for name, value in vars(GOOD).items() if type(value) is int]
    numpy_review = replace(GOOD, **{name: np.int64(getattr(GOOD, name)) for name in names})  # type: ignore[arg-type]
    ours, expected = answered(TABLE), answered(TABLE)
    assert_equal_to_the_bit(ours.answer(numpy_review), expected.answer(GOOD))
    assert ours.fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("duration", "rounded"), [(4.5, 4), (5.5, 6), (4.51, 5), (-0.2, 0), (np.float32(7.25), 7), (3.0, 3), (1e18, 10**18)]
)
def test_durations_are_rounded_to_milliseconds(duration: float, rounded: int, tmp_path: Path) -> None:
    """Halves round to even, one at a time and in bulk."""
    ours, expected = answered(TABLE), answered(TABLE)
    assert_equal_to_the_bit(
        ours.answer(replace(GOOD, duration_ms=duration)), expected.answer(replace(GOOD, duration_ms=rounded))
    )
    assert everything(ours, tmp_path / "a") == everything(expected, tmp_path / "b")
    fed, whole = engine_for(TABLE), engine_for(TABLE)
    fed.feed(replace(TABLE, duration_ms=np.full(len(TABLE), duration)))
    whole.feed(replace(TABLE, duration_ms=np.full(len(TABLE), rounded)))
    assert everything(fed, tmp_path / "a") == everything(whole, tmp_path / "b")


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), 1e25])
def test_durations_that_are_not_finite_are_refused(duration: float) -> None:
    for take in (
        lambda engine: engine.answer(replace(GOOD, duration_ms=duration)),
        lambda engine: engine.feed(replace(TABLE, duration_ms=np.full(len(TABLE), duration))),
    ):
        engine = engine_for(TABLE)
        with pytest.raises(HistoryError, match="duration_ms"):
            take(engine)
        assert engine.reviews == 0


@pytest.mark.parametrize("durations", [[1, 2, 3, -1], [1, 2, 3], [1, 2, 3, 2**64], [1, 2, 3, float("nan")], []])
def test_durations_of_an_outlook_are_checked(durations: list[float]) -> None:
    engine = answered(TABLE)
    with pytest.raises(InputError, match="duration"):
        list(engine.outlook([now(TABLE, 0)], durations))
    whole, rounded = (list(engine.outlook([now(TABLE, 0)], four)) for four in ([1000] * 4, [1000.4] * 4))
    np.testing.assert_array_equal(whole[0].after, rounded[0].after)


def test_clocks_that_were_set_back() -> None:
    """Intervals below -1 and negative durations count as 0, as in a history."""
    back = replace(GOOD, elapsed_days=-4, elapsed_s=-90_000, duration_ms=-5)
    rounded = replace(GOOD, elapsed_days=0, elapsed_s=0, duration_ms=0)
    ours, expected = answered(TABLE), answered(TABLE)
    assert_equal_to_the_bit(ours.answer(back), expected.answer(rounded))
    assert ours.fingerprint == expected.fingerprint
