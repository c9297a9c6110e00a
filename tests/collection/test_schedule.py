"""The days ahead: the cards of each day and their time, and that simulated answers change their cards."""

from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from rwkv.collection import days_ahead
from rwkv.collection.days_ahead import Pace, ScheduledDay
from rwkv.collection.learner import Learner, median_answer_ms, questions_at, read_learner
from rwkv.collection.schedule import schedule_collection, schedule_learner
from rwkv.command_line.schedule_tables import schedule_of, why_no_search, why_nothing
from rwkv.data.collection import CardList
from rwkv.data.days import local_time
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from rwkv.recurrent.person import Question
from rwkv.vocab import SECONDS_PER_DAY
from tests.collection.people import MODEL, NEW_ALONE, NEW_SIBLING, SUSPENDED, id_of, make_person

# In probability, as between all forms of the network (spec 7).
TOLERANCE = 2e-5
RETENTION, DAYS = 0.5, 15
FREELY = Pace()
EASY = 4


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_person(tmp_path_factory.mktemp("person")), 1)


def play(
    learner: Learner, retention: float | None = RETENTION, days: int = DAYS, seed: int = 1, pace: Pace = FREELY
) -> list[ScheduledDay]:
    return schedule_learner(learner, MODEL, learner.end_s + SECONDS_PER_DAY, retention, days, seed, pace)[0]


def fed(learner: Learner) -> Engine:
    engine = Engine(MODEL.runner, draw_sequence(learner.user))
    for review in reviews_of(learner.history):
        engine.answer(review)
    return engine


def row_of(learner: Learner, card_id: int) -> int:
    return int(np.flatnonzero(learner.cards.card_id == card_id)[0])


def test_cards_are_due_when_their_curves_have_fallen(learner: Learner) -> None:
    """The first time, which no answer changes: half a day after the day's moment, by the curve as it is now."""
    engine, days = fed(learner), play(learner)
    result = {card: day.day for day in days for card in day.card_id[~day.is_repeat].tolist()}
    askable = [card for card in range(10) if id_of(card) in learner.cards.card_id and card != SUSPENDED]
    expected = {}
    for card in askable:
        first_s = learner.end_s + SECONDS_PER_DAY - learner.latest_s[row_of(learner, id_of(card))]
        recalls = engine.curve(card)(first_s + (np.arange(DAYS) + 0.5) * SECONDS_PER_DAY)
        if (recalls <= RETENTION).any():
            expected[id_of(card)] = int((recalls <= RETENTION).argmax())
    assert result == expected
    assert len(set(result.values())) > 1


def test_suspended_and_new_cards_are_not_due_and_none_twice_a_day(learner: Learner) -> None:
    days = play(learner)
    for day in days:
        assert len(set(day.card_id.tolist())) == len(day.card_id)
        assert not {id_of(card) for card in (SUSPENDED, NEW_ALONE, NEW_SIBLING)} & set(day.card_id.tolist())
    assert any(day.is_repeat.any() for day in days)


def test_recall_and_minutes_of_the_first_day(learner: Learner) -> None:
    """Means over what RWKV-P says of each card then."""
    (day, *_), engine = play(learner), fed(learner)
    rows = np.array([row_of(learner, card) for card in day.card_id.tolist()])
    output = engine.predict_many(questions_at(learner, rows, learner.end_s + SECONDS_PER_DAY))
    assert day.recall == pytest.approx(output.p_imm.mean(), abs=TOLERANCE)
    minutes = (output.p_all * np.array(median_answer_ms(learner.history)) / 60_000).sum()
    assert day.minutes == pytest.approx(minutes, rel=1e-4)
    assert np.all(np.diff(output.p_imm) >= -TOLERANCE)


class AlwaysEasy:
    """Draws the last rating."""

    def random(self, count: int) -> np.ndarray:
        return np.full(count, 1.0)


def test_simulated_answers_change_their_cards(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody answers Easy: a second engine, told so review by review, has the same days."""
    monkeypatch.setattr(np.random, "default_rng", lambda seed: AlwaysEasy())
    days, engine = play(learner), fed(learner)
    times, duration_ms = learner.latest_s.copy(), median_answer_ms(learner.history)[EASY - 1]
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
            engine.feed_simulated(answer_to(question, learner, engine, duration_ms))
        times[rows] = now_s
    assert [sorted(day.card_id.tolist()) for day in days] == expected
    assert sum(map(len, expected)) > 10


def answer_to(question: Question, learner: Learner, engine: Engine, duration_ms: int) -> RevlogTable:
    """The answer Easy to a question, as a review that follows those of the engine."""
    history = learner.history
    return replace(
        history.part(slice(0, 1)),
        review_th=np.array([history.review_th[-1] + 1 + engine.reviews - len(history)], np.int32),
        card=np.array([question.card], np.int32),
        rating=np.array([EASY], np.int8),
        state=np.array([2], np.int8),
        duration_ms=np.array([duration_ms]),
        day_offset=np.array([question.day_offset], np.int32),
        elapsed_days=np.array([question.elapsed_days], np.int32),
        elapsed_s=np.array([question.elapsed_s]),
        cards=learner.places,
    )


def days_of(learner: Learner, times_s: np.ndarray) -> np.ndarray:
    return np.array([np.nan if np.isnan(at_s) else learner.day_of(at_s) for at_s in times_s])


@pytest.mark.parametrize(("days", "seed", "where"), [(0, 1, "`days`"), (3651, 1, "`days`"), (DAYS, -1, "`seed`")])
def test_days_and_seeds_out_of_range_are_refused_before_the_history_is_read(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, days: int, seed: int, where: str
) -> None:
    monkeypatch.setattr(Engine, "feeding", no_feeding)
    with pytest.raises(InputError, match=where):
        schedule_learner(learner, MODEL, learner.end_s, days=days, seed=seed)


def test_a_retention_out_of_range_is_refused_before_the_history_is_read(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "feeding", no_feeding)
    with pytest.raises(InputError, match="retention"):
        schedule_learner(learner, MODEL, learner.end_s, 1.5)


def no_feeding(*_: object) -> None:
    raise AssertionError("the history is read")


def nobody_but(learner: Learner, card: int) -> CardList:
    return replace(learner.cards, is_suspended=learner.cards.card_id != id_of(card))


# --- Days and reasons


@pytest.mark.parametrize("hours_after_rollover", [0.5, 12, 23.5])
def test_every_day_is_a_day_of_anki(learner: Learner, hours_after_rollover: float) -> None:
    """Also where clocks are set forward and back; the time of day stays."""
    zone = "Europe/Berlin"
    assert learner.info is not None
    in_berlin = replace(learner, info=replace(learner.info, timezone=zone))
    for month, day in ((3, 29), (10, 25)):
        at_s = datetime(2024, month, day, 4, tzinfo=ZoneInfo(zone)).timestamp() + hours_after_rollover * 3600
        moments = [in_berlin.days_later(at_s, days) for days in range(4)]
        assert [in_berlin.day_of(moment) - in_berlin.day_of(at_s) for moment in moments] == [0, 1, 2, 3]
        assert len({f"{local_time(moment, zone):%H:%M}" for moment in moments}) == 1
        assert moments[-1] - at_s in (3 * 86_400 - 3600, 3 * 86_400 + 3600)


def test_dates_match_ankis_days(learner: Learner) -> None:
    """Half an hour after days begin, on the day on which clocks are set forward."""
    assert learner.info is not None
    in_california = replace(learner, info=replace(learner.info, timezone="America/Los_Angeles"))
    at_s = datetime(2027, 3, 14, 4, 30, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
    days = schedule_learner(in_california, MODEL, at_s, 0.9, days=2)[0]
    assert schedule_of(in_california, at_s, MODEL, None, days, FREELY, 0.9).dates == ["2027-03-14", "2027-03-15"]


def test_each_day_is_predicted_at_its_own_moment(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def recorded(learner: Learner, rows: np.ndarray, at_s: float) -> list[Question]:
        asked.append(learner.day_of(at_s))
        return questions_at(learner, rows, at_s)

    monkeypatch.setattr(days_ahead, "questions_at", recorded)
    assert learner.info is not None
    in_berlin = replace(learner, info=replace(learner.info, timezone="Europe/Berlin"))
    at_s = datetime(2024, 10, 26, 4, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    schedule_learner(in_berlin, MODEL, at_s, 0.9, days=3)
    first = in_berlin.day_of(at_s)
    assert sorted(set(asked)) == [first, first + 1, first + 2]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("is_suspended", True, "of 11 cards 11 are suspended"),
        ("is_new", True, "of 11 cards 1 is suspended, 10 are new. Use --new N for new cards"),
    ],
)
def test_the_reason_why_no_card_is_due(learner: Learner, column: str, value: bool, words: str) -> None:
    cards = replace(learner.cards, **{column: np.full(len(learner.cards), value)})
    if column == "is_suspended":
        cards = replace(cards, is_new=np.zeros(len(cards), bool))
    nobody = replace(learner, cards=cards)
    assert words in (why_nothing(nobody, play(nobody, 0.9, days=2), FREELY) or "")


def test_the_reason_why_no_card_is_due_if_all_are_deleted_or_well_known(learner: Learner) -> None:
    none = CardList(**{field.name: getattr(learner.cards, field.name)[:0] for field in fields(CardList)})
    deleted = replace(learner, cards=none, number=learner.number[:0])
    deleted = replace(deleted, latest_s=learner.latest_s[:0], latest_day=learner.latest_day[:0])
    reason = why_nothing(deleted, play(deleted, 0.9, days=2), FREELY)
    assert reason == "no card can be reviewed: all cards with reviews were deleted"
    days = play(learner, 1e-9, days=2)
    assert why_nothing(learner, days, FREELY) == "no card is due within 2 days: no curve falls to the desired retention"
    assert "is due on the first day: no curve" in (why_nothing(learner, days[:1], FREELY) or "")
    assert why_nothing(learner, play(learner, 0.9, days=2), FREELY) is None


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
    expected = {card for requested, cards in due.items() for card in cards if of_cards[card] == requested}
    assert set(own.card_id.tolist()) == expected


def test_due_days_in_parts_equal_the_whole(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [day.card_id.tolist() for day in play(learner)]
    monkeypatch.setattr("rwkv.collection.due_days._TOGETHER", 3)
    assert [day.card_id.tolist() for day in play(learner)] == whole


def test_forgotten_cards_that_come_back_raise_no_doubt(learner: Learner) -> None:
    """A backlog of forgotten cards comes back on the next day by its answers, not because the model does not fit."""
    cards, no = np.arange(30), np.zeros(30, bool)
    for lapsed, doubted in ((~no, False), (no, True)):
        days = [ScheduledDay(day, cards, no, no, lapsed, np.full(30, 0.5), 0.4, 0) for day in range(3)]
        schedule = schedule_of(learner, learner.end_s, MODEL, None, days, FREELY, 0.9)
        assert ("of the remembered cards come back" in str(schedule)) == doubted


def test_a_search_for_anki() -> None:
    none = np.zeros(3, bool)
    day = ScheduledDay(0, np.array([3, 1, 2]), np.array([False, True, False]), none, none, np.full(3, 0.5), 0.9, 0)
    assert day.search == "cid:3,2"
    repeat = ScheduledDay(4, np.array([1]), np.array([True]), none[:1], none[:1], np.array([0.5]), 0.9, 0)
    assert repeat.search == ""
    assert why_no_search(repeat).endswith("1 card is expected back after answers until then")
    free = ScheduledDay(4, np.empty(0, int), none[:0], none[:0], none[:0], np.empty(0), float("nan"), 0)
    assert why_no_search(free) == "no card is due on day 4"


def test_simulated_answers_are_not_saved(tmp_path: Path) -> None:
    """The states beside the collection are those of the reviews that were."""
    root = make_person(tmp_path)
    first = schedule_collection(root, 1, MODEL, RETENTION, days=5, at_s=read_learner(root, 1).end_s)
    state = root / "collection" / "user_id=1" / "state.rwkv"
    before = state.read_bytes()
    again = schedule_collection(root, 1, MODEL, RETENTION, days=5, at_s=read_learner(root, 1).end_s)
    assert state.read_bytes() == before
    assert [day.card_id.tolist() for day in first] == [day.card_id.tolist() for day in again]


@pytest.mark.parametrize(("retention", "days", "word"), [(0.9, 0, "days"), (1.0, 5, "retention"), (0.9, 9999, "days")])
def test_invalid_retentions_and_days_are_refused(learner: Learner, retention: float, days: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        play(learner, retention, days)
