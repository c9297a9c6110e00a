"""Today and the days ahead in a report, against `rwkv schedule`."""

import numpy as np
import pytest

from rwkv.collection.days_ahead import askable
from rwkv.collection.due_days import due_days, moments_ahead
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, read_learner
from rwkv.collection.schedule import schedule_learner
from rwkv.report import workload as workload_module
from rwkv.report.cards import cards_now
from rwkv.report.workload import today, workload
from tests.collection.people import MODEL
from tests.report.test_write_report import DAY, make_student


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_student(tmp_path_factory.mktemp("student")), 1)


def test_today_matches_schedule(learner: Learner) -> None:
    at_s = learner.end_s + 5 * DAY
    engine, _ = fed_engine(learner, MODEL)
    due = today(engine, learner, at_s)
    (day, *_), _ = schedule_learner(learner, MODEL, at_s, days=2)
    assert sorted(learner.cards.card_id[due.row].tolist()) == sorted(day.card_id.tolist())
    assert len(due.row) > 0
    assert (due.minutes, due.recall) == pytest.approx((day.minutes, day.recall), rel=1e-4)
    assert engine.reviews == len(learner.history)
    engine.close()


def test_due_days_of_several_retentions_equal_those_of_each(learner: Learner) -> None:
    engine, _ = fed_engine(learner, MODEL)
    rows = np.flatnonzero(askable(learner))
    card, latest_s = learner.number[rows], learner.latest_s[rows]
    retention = np.array([0.3, 0.9, 0.6])[:, None] + np.linspace(-0.05, 0.05, len(rows))
    moments_s = moments_ahead(learner, learner.end_s + DAY, 12)
    together = due_days(engine, card, latest_s, retention, moments_s, 2)
    for row, expected in enumerate(retention):
        alone = due_days(engine, card, latest_s, expected[None], moments_s, 2)
        assert together[row].tolist() == alone[0].tolist()
    assert 2 == together.min() < together.max() == 12
    engine.close()


@pytest.mark.usefixtures("few_plays")
def test_workload_matches_schedule(learner: Learner) -> None:
    """Each retention from the same start, which no play before it has changed."""
    at_s = learner.end_s + DAY
    engine, _ = fed_engine(learner, MODEL)
    result = workload(engine, learner, at_s, cards_now(engine, learner, at_s))
    assert result.played == result.cards
    for row, retention in enumerate(result.retention):
        days, _ = schedule_learner(learner, MODEL, at_s, retention, 3)
        assert result.reviews[row].tolist() == [len(day.card_id) for day in days]
        assert result.minutes[row].tolist() == pytest.approx([day.minutes for day in days], rel=1e-4)
    assert result.reviews.sum() > 0
    engine.close()


@pytest.mark.usefixtures("few_plays")
def test_a_sample_of_the_cards_is_scaled_to_all(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_module, "MOST_ANSWERS", 10)
    at_s = learner.end_s + 400 * DAY  # so long after it that all cards are due, whatever the retention
    engine, _ = fed_engine(learner, MODEL)
    cards = cards_now(engine, learner, at_s)
    result = workload(engine, learner, at_s, cards)
    assert 0 < result.played < result.cards == 58
    everything = today(engine, learner, at_s)
    assert result.reviews[1, 0] == pytest.approx(len(everything.row), rel=0.2)  # a card more or less of the group
    engine.close()


@pytest.mark.usefixtures("few_plays")
@pytest.mark.filterwarnings("error")
def test_a_retention_that_no_curve_falls_to_has_no_reviews(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_module, "WORKLOAD_RETENTIONS", (1e-9, 0.9))
    monkeypatch.setattr(workload_module, "MOST_ANSWERS", 10)
    at_s = learner.end_s + 10 * DAY
    engine, _ = fed_engine(learner, MODEL)
    result = workload(engine, learner, at_s, cards_now(engine, learner, at_s))
    assert result.reviews[0].tolist() == [0, 0, 0]
    assert result.reviews[1].sum() > 0
    engine.close()
