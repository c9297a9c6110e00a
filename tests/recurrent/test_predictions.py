"""Predictions of one card, of many cards, and of cards without reviews."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rwkv
from rwkv.errors import HistoryError, InputError
from rwkv.model.network import Network
from rwkv.model.spec import CodeSpec
from rwkv.recurrent import predictions
from rwkv.recurrent.features import Place, reviews_of
from rwkv.recurrent.person import Question
from tests.helpers import make_table, random_revlog
from tests.networks import small_network
from tests.recurrent.engines import (
    NETWORK,
    answered,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    next_review,
    now,
    some_history,
)
from tests.recurrent.parallel import TOLERANCE, stack
from tests.typed import not_none

NEW_PLACE = Place(note=900, deck=0, preset=0)


def test_the_engine_is_public() -> None:
    from rwkv.recurrent.engine import Engine

    assert rwkv.Engine is Engine
    with pytest.raises(AttributeError, match="engine"):
        rwkv.engine_that_is_not_there  # type: ignore[attr-defined]  # noqa: B018


def test_a_prediction_equals_that_of_the_answer() -> None:
    table = some_history()
    engine, review = answered(table), next_review(table)
    question = Question(review.card, review.day_offset, review.elapsed_days, review.elapsed_s)
    ours = engine.predict(question)
    expected = engine.answer(review)
    assert ours.p_ahead == expected.p_ahead
    np.testing.assert_allclose(not_none(ours.p_all), not_none(expected.p_all), rtol=0, atol=1e-6)
    assert not_none(ours.p_all).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("network", [NETWORK, small_network()], ids=["native", "small"])
def test_many_predictions_equal_single_ones(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "_CARDS_PER_PASS", 5)
    table = some_history()
    engine = answered(table, network)
    questions = [now(table, card, days=1 + card) for card in engine.cards]
    questions += [replace(now(table, 1000 + i), place=NEW_PLACE) for i in range(3)]
    many, one_by_one = engine.predict_many(questions), stack([engine.predict(question) for question in questions])
    for name, column in vars(one_by_one).items():
        np.testing.assert_allclose(getattr(many, name), column, rtol=0, atol=TOLERANCE, err_msg=name)


def test_the_order_of_questions_does_not_matter() -> None:
    table = some_history()
    engine = answered(table)
    questions = [now(table, card) for card in engine.cards]
    forth, back = engine.predict_many(questions), engine.predict_many(questions[::-1])
    np.testing.assert_allclose(forth.p_all, back.p_all[::-1], rtol=0, atol=1e-6)


def test_the_whole_collection() -> None:
    table = some_history()
    engine = answered(table)
    days = list(range(2, 2 + len(engine.cards)))
    today = int(table.day_offset[-1]) + 2
    whole = engine.predict_all(today, days, [86_400 * day for day in days])
    requests = [Question(card, today, day, 86_400 * day) for card, day in zip(engine.cards, days, strict=True)]
    np.testing.assert_array_equal(whole.p_all, engine.predict_many(requests).p_all)
    assert len(engine.predict_many([]).p_imm) == 0
    assert len(engine_for(table).predict_all(0, [], []).p_imm) == 0


def test_predicting_changes_nothing(tmp_path: Path) -> None:
    table = some_history()
    engine, undisturbed = answered(table), answered(table)
    questions = [now(table, card) for card in engine.cards] + [replace(now(table, 1000), place=NEW_PLACE)]
    for question in questions:
        engine.predict(question)
        engine.buttons(question)
    engine.predict_many(questions)
    engine.curve(0)
    assert everything(engine, tmp_path / "a") == everything(undisturbed, tmp_path / "b")
    assert_equal_to_the_bit(engine.answer(next_review(table)), undisturbed.answer(next_review(table)))


def test_a_card_without_reviews() -> None:
    table = some_history()
    engine = answered(table)
    ours = engine.predict(replace(now(table, 1000), elapsed_days=-1, elapsed_s=-1, place=NEW_PLACE))
    assert ours.p_ahead is None
    assert 0 < not_none(ours.p_imm) < 1
    other_deck = engine.predict(replace(now(table, 1000), place=NEW_PLACE._replace(deck=77)))
    assert other_deck.p_imm != ours.p_imm
    with pytest.raises(InputError, match="card 1000"):
        engine.predict(now(table, 1000))
    with pytest.raises(InputError, match="card 1000"):
        engine.curve(1000)


def test_a_question_before_the_latest_day_is_refused() -> None:
    table = some_history()
    with pytest.raises(HistoryError, match="day_offset"):
        answered(table).predict(now(table, 0, days=-1))


def test_a_card_moved_to_another_deck() -> None:
    """The card then uses the state of the new deck and keeps its own state."""
    table = some_history()
    engine, stayed = answered(table), answered(table)
    moved = replace(next_review(table), deck=50)
    ours, expected = engine.answer(moved), stayed.answer(next_review(table))
    assert ours.p_ahead == expected.p_ahead
    assert ours.p_imm != expected.p_imm
    later = replace(now(table, 0), day_offset=moved.day_offset + 1)
    in_new_deck = engine.predict(later)
    assert_equal_to_the_bit(in_new_deck, engine.predict(replace(later, place=moved.place)))
    assert in_new_deck.p_imm != engine.predict(replace(later, place=next_review(table).place)).p_imm


def test_missing_ids_change_the_prediction() -> None:
    table = some_history()
    engine = answered(table)
    known = Place(note=500, deck=9, preset=9)
    requests = replace(now(table, 1000), place=known)
    missing = replace(requests, place=known._replace(note_missing=True))
    assert engine.predict(requests).p_imm != engine.predict(missing).p_imm
    # A note with other cards has another past than a note of this card alone.
    shared = replace(requests, place=known._replace(note=0))
    assert engine.predict(requests).p_imm != engine.predict(shared).p_imm


@pytest.mark.parametrize(("days", "seconds"), [(0, 0), (0, 1), (-5, -400_000), (20_000, 2_000_000_000)])
def test_odd_intervals(days: int, seconds: int) -> None:
    """Zero, negative from clocks that were set back (counted as 0), and beyond the last point of the curve."""
    table = some_history()
    engine = answered(table)
    question = replace(now(table, 0), elapsed_days=days, elapsed_s=seconds)
    ours = engine.predict(question)
    assert 0 < not_none(ours.p_ahead) < 1
    assert 0 < not_none(ours.p_imm) < 1
    if days < -1:
        assert_equal_to_the_bit(ours, engine.predict(replace(question, elapsed_days=0, elapsed_s=0)))
    review = replace(next_review(table), elapsed_days=days, elapsed_s=seconds)
    assert engine.answer(review).p_ahead == ours.p_ahead


def test_own_codes() -> None:
    """Each code is requested once, in order of first appearance; other codes give other predictions."""
    table = make_table(random_revlog(41, reviews=40, cards=6))
    requests: list[tuple[str, int]] = []

    def source(code: CodeSpec, number: int) -> list[float]:
        requests.append((code.stream, number))
        return [0.5] * code.width

    engine, drawn = engine_for(table, codes=source), engine_for(table)
    ours = [engine.answer(review) for review in reviews_of(table)]
    expected = [drawn.answer(review) for review in reviews_of(table)]
    assert stack(ours).p_imm[-1] != stack(expected).p_imm[-1]
    assert len(requests) == len(set(requests))
    assert [number for stream, number in requests if stream == "card_id"] == list(range(len(engine.cards)))
