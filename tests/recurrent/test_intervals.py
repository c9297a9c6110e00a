"""Forgetting curves, intervals and the outcomes of the buttons."""

from dataclasses import replace

import numpy as np
import pytest

from rwkv.errors import InputError
from rwkv.model.recall import correction_points
from rwkv.model.spec import CURVES
from rwkv.recurrent.intervals import Curve, in_order
from rwkv.vocab import STREAMS
from tests.recurrent.engines import answered, next_review, now, some_history
from tests.recurrent.parallel import TOLERANCE
from tests.typed import not_none

HORIZON_S = float(correction_points()[-1])


def curve_of(stability: int, corrections: dict[int, float] | None = None) -> Curve:
    """The curve of one of the 128 stabilities, corrected at some points."""
    outputs = np.zeros((1, 2 * CURVES + 4), np.float32)
    outputs[0, stability] = 60.0
    for point, logit in (corrections or {}).items():
        outputs[0, CURVES + point] = logit
    return Curve(outputs)


def test_a_curve_takes_arrays_of_seconds() -> None:
    table = some_history()
    curve = answered(table).curve(0)
    seconds = np.array([[0.0, 1.0, 60.0], [86_400.0, 1e7, 1e12]])
    p = curve(seconds)
    assert p.shape == seconds.shape
    assert p.dtype == np.float64
    np.testing.assert_array_equal(p.reshape(-1), [float(curve(second)) for second in seconds.reshape(-1)])
    assert p[0, 0] == p[0, 1]  # below a second counts as one
    with pytest.raises(InputError, match="NaN"):
        curve([1.0, np.nan])


def test_p_ahead_lies_on_the_curve() -> None:
    table = some_history()
    engine = answered(table)
    question = now(table, 0)
    assert engine.predict(question).p_ahead == float(engine.curve(0)(question.elapsed_s))


@pytest.mark.parametrize("retention", [0.97, 0.9, 0.7, 0.3])
def test_the_interval_is_where_recall_falls_to_the_retention(retention: float) -> None:
    curve = curve_of(60)
    interval = curve.interval(retention)
    assert interval is not None
    assert float(curve(interval)) <= retention < float(curve(interval * (1 - 1e-4)))


def test_the_first_crossing_counts() -> None:
    """The curve dips at one point, recovers, and falls again much later."""
    dip = curve_of(100, {50: -12.0})
    point = float(correction_points()[50])
    assert float(dip(point)) < 0.9 < float(dip(2 * point))
    assert not_none(dip.interval(0.9)) < point


def test_curves_without_a_crossing_or_with_an_early_one() -> None:
    assert curve_of(127, {127: 5.0}).interval(0.01) is None
    assert curve_of(0, {0: -9.0, 1: -9.0}).interval(0.9) == 1.0
    assert curve_of(127, dict.fromkeys(range(CURVES), 9.0)).interval(0.9) is None


@pytest.mark.parametrize("retention", [0.0, 1.0, -1.0, 1.5, float("nan")])
def test_invalid_retentions_are_refused(retention: float) -> None:
    with pytest.raises(InputError, match="retention"):
        curve_of(60).interval(retention)


def test_intervals_in_order() -> None:
    assert in_order([5.0, 3.0, 9.0, None]) == [5.0, 5.0, 9.0, None]
    assert in_order([None, 3.0, 2.0, 1.0]) == [None] * 4
    assert in_order([1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]


def test_the_outcome_of_a_button_equals_the_answer() -> None:
    table = some_history()
    engine, review = answered(table), next_review(table)
    question = replace(now(table, 0), day_offset=review.day_offset, elapsed_days=2, elapsed_s=172_800)
    buttons = engine.buttons(question, 0.8, state=review.state, duration_ms=review.duration_ms)
    assert [button.rating for button in buttons] == [1, 2, 3, 4]
    for button in buttons:
        pressed = answered(table)
        pressed.answer(replace(review, rating=button.rating))
        times = np.geomspace(1, HORIZON_S, 50)
        np.testing.assert_allclose(button.curve(times), pressed.curve(0)(times), rtol=0, atol=TOLERANCE)
        assert button.interval_s == button.curve.interval(0.8)
        assert list(button.states) == list(STREAMS)
        person = pressed._person
        numbers = person.look_up(review).numbers
        for (stream, state), number in zip(button.states.items(), numbers, strict=True):
            expected = not_none(person.store.get((stream, number)))
            np.testing.assert_allclose(state, expected, rtol=0, atol=TOLERANCE)


def test_buttons_in_order() -> None:
    table = some_history()
    engine = answered(table)
    for card in engine.cards:
        ordered = [button.interval_s for button in engine.buttons(now(table, card), 0.8, ordered=True)]
        plain = [button.interval_s for button in engine.buttons(now(table, card), 0.8)]
        assert ordered == in_order(plain)
