"""The days ahead: who is due when, what it takes, and that answers are taken in as the engine takes them in."""

from pathlib import Path

import numpy as np
import pytest

from rwkv.commands import schedule
from rwkv.commands.answer_times import median_answer_ms
from rwkv.commands.learner import Learner, questions_at, read_learner
from rwkv.commands.schedule import ScheduledDay, schedule_collection, schedule_learner
from rwkv.errors import InputError
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import Review, reviews_of
from rwkv.vocab import SECONDS_PER_DAY
from tests.commands.people import MODEL, NEW_ALONE, NEW_SIBLING, SUSPENDED, id_of, make_person

# In probability, as between all forms of the network (spec 7).
TOLERANCE = 2e-5
RETENTION, DAYS = 0.5, 15
EASY = 4


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_person(tmp_path_factory.mktemp("person")), 1)


def play(learner: Learner, retention: float | None = RETENTION, days: int = DAYS, seed: int = 1) -> list[ScheduledDay]:
    return schedule_learner(learner, MODEL, learner.end_s + SECONDS_PER_DAY, retention, days, seed)


def fed(learner: Learner) -> Engine:
    engine = Engine(MODEL.network, draw_sequence(learner.user))
    for review in reviews_of(learner.history):
        engine.answer(review)
    return engine


def row_of(learner: Learner, card_id: int) -> int:
    return int(np.flatnonzero(learner.cards.card_id == card_id)[0])


def test_cards_are_due_when_their_curves_have_fallen(learner: Learner) -> None:
    """The first time, which no answer changes: half a day after the day's moment, by the curve as it is now."""
    engine, days = fed(learner), play(learner)
    found = {card: day.day for day in days for card in day.card_id[~day.is_repeat].tolist()}
    askable = [card for card in range(10) if id_of(card) in learner.cards.card_id and card != SUSPENDED]
    expected = {}
    for card in askable:
        first_s = learner.end_s + SECONDS_PER_DAY - learner.latest_s[row_of(learner, id_of(card))]
        recalls = engine.curve(card)(first_s + (np.arange(DAYS) + 0.5) * SECONDS_PER_DAY)
        if (recalls <= RETENTION).any():
            expected[id_of(card)] = int((recalls <= RETENTION).argmax())
    assert found == expected
    assert len(set(found.values())) > 1


def test_suspended_and_new_cards_are_not_asked_and_none_twice_a_day(learner: Learner) -> None:
    days = play(learner)
    for day in days:
        assert len(set(day.card_id.tolist())) == len(day.card_id)
        assert not {id_of(card) for card in (SUSPENDED, NEW_ALONE, NEW_SIBLING)} & set(day.card_id.tolist())
    assert any(day.is_repeat.any() for day in days)


def test_recall_and_minutes_of_the_first_day(learner: Learner) -> None:
    """Means over what RWKV-P says of each card then."""
    (day, *_), engine = play(learner), fed(learner)
    rows = np.array([row_of(learner, card) for card in day.card_id.tolist()])
    said = engine.predict_many(questions_at(learner, rows, learner.end_s + SECONDS_PER_DAY))
    assert day.recall == pytest.approx(said.p_imm.mean(), abs=TOLERANCE)
    minutes = (said.p_all * np.array(median_answer_ms(learner.history)) / 60_000).sum()
    assert day.minutes == pytest.approx(minutes, rel=1e-4)
    assert np.all(np.diff(said.p_imm) >= -TOLERANCE)


class AlwaysEasy:
    """Draws the last rating."""

    def random(self, count: int) -> np.ndarray:
        return np.full(count, 1.0)


def test_answers_are_taken_in_one_after_another(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody answers Easy: a second engine, told so review by review, has the same days."""
    monkeypatch.setattr(np.random, "default_rng", lambda seed: AlwaysEasy())
    days, engine = play(learner), fed(learner)
    times, duration_ms = learner.latest_s.copy(), median_answer_ms(learner.history)[EASY - 1]
    review_th = int(learner.history.review_th[-1])
    expected = []
    for day in range(DAYS):
        now_s = learner.end_s + (1 + day) * SECONDS_PER_DAY
        rows = [
            row
            for row, card in enumerate(learner.number.tolist())
            if card < learner.reviewed
            and card != SUSPENDED
            and engine.curve(card)(max(0.0, now_s + SECONDS_PER_DAY / 2 - times[row])) <= RETENTION
        ]
        expected.append(sorted(learner.cards.card_id[rows].tolist()))
        ahead = Learner(**vars(learner) | {"latest_s": times, "latest_day": days_of(learner, times)})
        questions = questions_at(ahead, np.array(rows, np.int64), now_s)
        order = [learner.cards.card_id.tolist().index(card) for card in days[day].card_id.tolist()]
        assert sorted(order) == rows
        for question in questions:
            review_th += 1
            when = question.day_offset, question.elapsed_days, question.elapsed_s
            assert question.place is not None
            engine.answer(Review(review_th, question.card, *question.place, *when, EASY, 2, duration_ms))
        times[rows] = now_s
    assert [sorted(day.card_id.tolist()) for day in days] == expected
    assert sum(map(len, expected)) > 10


def days_of(learner: Learner, times_s: np.ndarray) -> np.ndarray:
    return np.array([np.nan if np.isnan(at_s) else learner.day_of(at_s) for at_s in times_s])


def test_the_answers_follow_the_seed(learner: Learner) -> None:
    def cards(seed: int) -> list[list[int]]:
        return [day.card_id.tolist() for day in play(learner, days=30, seed=seed)]

    assert cards(1) == cards(1)
    assert any(cards(1) != cards(seed) for seed in (2, 3, 4))


def test_a_higher_retention_takes_more_reviews(learner: Learner) -> None:
    reviews = [sum(len(day.card_id) for day in play(learner, retention)) for retention in (0.2, 0.4, 0.6, 0.8)]
    assert reviews == sorted(reviews)
    assert reviews[0] < reviews[-1]


def test_each_card_by_the_retention_of_its_preset(learner: Learner) -> None:
    """0.8 and 0.9, as one retention for all would not be."""
    own = play(learner, None, days=1)[0]
    due = {retention: set(play(learner, retention, days=1)[0].card_id.tolist()) for retention in (0.8, 0.9)}
    of_cards = dict(zip(learner.cards.card_id.tolist(), learner.cards.desired_retention.tolist(), strict=True))
    expected = {card for wanted, cards in due.items() for card in cards if of_cards[card] == wanted}
    assert set(own.card_id.tolist()) == expected


def test_parts_of_curves_join(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [day.card_id.tolist() for day in play(learner)]
    monkeypatch.setattr(schedule, "_TOGETHER", 3)
    assert [day.card_id.tolist() for day in play(learner)] == whole


def test_a_search_for_anki() -> None:
    day = ScheduledDay(0, np.array([3, 1, 2]), np.array([False, True, False]), 0.5, 0.9)
    assert day.search == "cid:3,2"
    assert ScheduledDay(0, np.array([1]), np.array([True]), 0.5, 0.9).search == ""


def test_the_days_played_through_are_not_kept(tmp_path: Path) -> None:
    """The states beside the collection are those of the reviews that were."""
    root = make_person(tmp_path)
    first = schedule_collection(root, 1, MODEL, RETENTION, days=5, at_s=read_learner(root, 1).end_s)
    state = root / "collection" / "user_id=1" / "state.rwkv"
    before = state.read_bytes()
    again = schedule_collection(root, 1, MODEL, RETENTION, days=5, at_s=read_learner(root, 1).end_s)
    assert state.read_bytes() == before
    assert [day.card_id.tolist() for day in first] == [day.card_id.tolist() for day in again]


@pytest.mark.parametrize(("retention", "days", "word"), [(0.9, 0, "days"), (1.0, 5, "retention"), (0.9, 9999, "days")])
def test_impossible_wishes(learner: Learner, retention: float, days: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        play(learner, retention, days)
