"""The outlook of many cards equals the predictions, curves and buttons of single cards, and changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import InputError
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import Place
from rwkv.recurrent.intervals import Curve, intervals
from rwkv.recurrent.person import Question
from rwkv.recurrent.predictions import Outlook
from rwkv.vocab import RATINGS
from tests.recurrent.engines import answered, everything, now, some_history

# In probability (spec 7): float32 sums in another order.
TOLERANCE = 2e-5
# Answer time of each rating in milliseconds.
DURATIONS = (9000, 8000, 5000, 3000)
TABLE = some_history()
NEW = Question(999, int(TABLE.day_offset[-1]) + 3, -1, -1, Place(900, 0, 0))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return answered(TABLE)


def questions(engine: Engine) -> list[Question]:
    return [*(now(TABLE, card) for card in engine.cards), NEW]


def full_outlook(engine: Engine) -> Outlook:
    (part,) = engine.outlook(questions(engine), DURATIONS)
    return part


def test_predictions_are_those_of_predict_many(engine: Engine) -> None:
    part, expected = full_outlook(engine), engine.predict_many(questions(engine))
    np.testing.assert_allclose(part.p_imm, expected.p_imm, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(part.p_all, expected.p_all, rtol=0, atol=TOLERANCE)


def test_curves_are_those_of_the_cards(engine: Engine) -> None:
    part = full_outlook(engine)
    for row, card in enumerate(engine.cards):
        np.testing.assert_array_equal(part.curve[row], engine.curve(card).outputs[0])
    assert np.isnan(part.curve[-1]).all()


def test_buttons_are_those_of_one_card_at_a_time(engine: Engine) -> None:
    """Each rating has its own answer time; one of the cards was never reviewed."""
    part = full_outlook(engine)
    seconds = np.geomspace(1, 1e8, 9)
    for row, question in enumerate(questions(engine)):
        state = 0 if question is NEW else 2
        for i, rating in enumerate(RATINGS):
            button = engine.buttons(question, state=state, duration_ms=DURATIONS[i])[i]
            assert button.rating == rating
            ours = Curve(part.after[row, i : i + 1])
            np.testing.assert_allclose(ours(seconds), button.curve(seconds), rtol=0, atol=TOLERANCE)


def test_parts_join_to_the_whole_outlook(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = full_outlook(engine)
    monkeypatch.setattr("rwkv.recurrent.predictions._OUTLOOKS_PER_PASS", 5)
    parts = list(engine.outlook(questions(engine), DURATIONS))
    assert [len(part.p_imm) for part in parts] == [5, 5, 3]
    np.testing.assert_allclose(np.concatenate([part.p_imm for part in parts]), whole.p_imm, rtol=0, atol=TOLERANCE)


def test_an_outlook_changes_nothing(tmp_path: Path) -> None:
    engine = answered(TABLE)
    before = everything(engine, tmp_path / "before")
    full_outlook(engine)
    assert everything(engine, tmp_path / "after") == before


def after_every_answer(engine: Engine) -> np.ndarray:
    """The curves after all four answers of all cards, float32 [n, outputs]."""
    after = full_outlook(engine).after
    return after.reshape(-1, after.shape[-1])


def test_intervals_of_many_are_those_of_each(engine: Engine) -> None:
    """Exactly, since the same times are sampled; None beyond the horizon is NaN."""
    curves = after_every_answer(engine)
    for retention in (0.05, 0.5, 0.9, 0.999):
        ours = intervals(curves, retention)
        each = [Curve(row).interval(retention) for row in np.split(curves, len(curves))]
        np.testing.assert_array_equal(ours, np.array(each, np.float64))
    mixed = np.linspace(0.3, 0.95, len(curves))
    each = [
        Curve(row).interval(wanted) for row, wanted in zip(np.split(curves, len(curves)), mixed.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(intervals(curves, mixed), np.array(each, np.float64))


def test_intervals_with_a_shortest_interval(engine: Engine) -> None:
    """The interval is the shortest one if recall is as low by then, otherwise where it next falls to the retention."""
    curves, least_s = after_every_answer(engine), 3600.0
    recalls = np.array([Curve(row)(least_s) for row in np.split(curves, len(curves))])
    retention = float(np.median(recalls))
    ours, below = intervals(curves, retention, least_s), recalls <= retention
    assert set(ours[below]) == {least_s}
    later = [pair for pair in zip(np.split(curves, len(curves)), ours.tolist(), strict=True) if pair[1] > least_s]
    assert len(later) == np.sum(~below & ~np.isnan(ours)) > 0
    for row, seconds in later:
        before, after = Curve(row)([0.999 * seconds, seconds])
        assert before > retention >= after


@pytest.mark.parametrize("least_s", [0.0, 1e12, np.nan])
def test_invalid_shortest_intervals_are_refused(engine: Engine, least_s: float) -> None:
    with pytest.raises(InputError, match="shortest"):
        intervals(full_outlook(engine).curve, 0.5, least_s)


def test_an_outlook_of_no_cards_is_empty(engine: Engine) -> None:
    assert list(engine.outlook([], DURATIONS)) == []
    assert len(intervals(full_outlook(engine).curve[:0], 0.9)) == 0
