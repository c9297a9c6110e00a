"""Everything about many cards at once: the numbers of one card at a time, and nothing changes."""

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

# In probability, as for every other form (spec 7); the sums of many rows are taken in another order.
TOLERANCE = 2e-5
# Of an answer, by rating, in milliseconds.
DURATIONS = (9000, 8000, 5000, 3000)
TABLE = some_history()
NEW = Question(999, int(TABLE.day_offset[-1]) + 3, -1, -1, Place(900, 0, 0))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return answered(TABLE)


def questions(engine: Engine) -> list[Question]:
    return [*(now(TABLE, card) for card in engine.cards), NEW]


def looked(engine: Engine) -> Outlook:
    (part,) = engine.outlook(questions(engine), DURATIONS)
    return part


def test_predictions_are_those_of_predict_many(engine: Engine) -> None:
    said, expected = looked(engine), engine.predict_many(questions(engine))
    np.testing.assert_allclose(said.p_imm, expected.p_imm, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(said.p_all, expected.p_all, rtol=0, atol=TOLERANCE)


def test_curves_are_those_of_the_cards(engine: Engine) -> None:
    said = looked(engine)
    for row, card in enumerate(engine.cards):
        np.testing.assert_array_equal(said.curve[row], engine.curve(card).outputs[0])
    assert said.curve[-1].isnan().all()


def test_buttons_are_those_of_one_card_at_a_time(engine: Engine) -> None:
    """Also of a card that was never reviewed; each rating with the time that its answer takes."""
    said = looked(engine)
    seconds = np.geomspace(1, 1e8, 9)
    for row, question in enumerate(questions(engine)):
        state = 0 if question is NEW else 2
        for i, rating in enumerate(RATINGS):
            button = engine.buttons(question, state=state, duration_ms=DURATIONS[i])[i]
            assert button.rating == rating
            ours = Curve(said.after[row, i : i + 1])
            np.testing.assert_allclose(ours(seconds), button.curve(seconds), rtol=0, atol=TOLERANCE)


def test_parts_join_to_the_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = looked(engine)
    monkeypatch.setattr("rwkv.recurrent.predictions._OUTLOOKS_TOGETHER", 5)
    parts = list(engine.outlook(questions(engine), DURATIONS))
    assert [len(part.p_imm) for part in parts] == [5, 5, 3]
    np.testing.assert_allclose(np.concatenate([part.p_imm for part in parts]), whole.p_imm, rtol=0, atol=TOLERANCE)


def test_nothing_changes(tmp_path: Path) -> None:
    engine = answered(TABLE)
    before = everything(engine, tmp_path / "before")
    looked(engine)
    assert everything(engine, tmp_path / "after") == before


def test_intervals_of_many_are_those_of_each(engine: Engine) -> None:
    """To the last bit: the same times are looked at. None beyond the horizon is NaN."""
    curves = looked(engine).after.flatten(0, 1)
    for retention in (0.05, 0.5, 0.9, 0.999):
        ours = intervals(curves, retention)
        each = [Curve(row).interval(retention) for row in curves.split(1)]
        np.testing.assert_array_equal(ours, np.array(each, np.float64))
    mixed = np.linspace(0.3, 0.95, len(curves))
    each = [Curve(row).interval(wanted) for row, wanted in zip(curves.split(1), mixed.tolist(), strict=True)]
    np.testing.assert_array_equal(intervals(curves, mixed), np.array(each, np.float64))


def test_intervals_from_a_time_on(engine: Engine) -> None:
    """That time, where the curve is below by then; otherwise where it next falls."""
    curves, least_s = looked(engine).after.flatten(0, 1), 3600.0
    recalls = np.array([Curve(row)(least_s) for row in curves.split(1)])
    retention = float(np.median(recalls))
    ours, below = intervals(curves, retention, least_s), recalls <= retention
    assert set(ours[below]) == {least_s}
    found = [pair for pair in zip(curves.split(1), ours.tolist(), strict=True) if pair[1] > least_s]
    assert len(found) == np.sum(~below & ~np.isnan(ours)) > 0
    for row, seconds in found:
        before, after = Curve(row)([0.999 * seconds, seconds])
        assert before > retention >= after


@pytest.mark.parametrize("least_s", [0.0, 1e12, np.nan])
def test_impossible_shortest_intervals(engine: Engine, least_s: float) -> None:
    with pytest.raises(InputError, match="shortest"):
        intervals(looked(engine).curve, 0.5, least_s)


def test_no_cards_are_no_error(engine: Engine) -> None:
    assert list(engine.outlook([], DURATIONS)) == []
    assert len(intervals(looked(engine).curve[:0], 0.9)) == 0
