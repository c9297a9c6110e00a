"""Predictions of a collection equal the engine's for every card, with new and with saved states."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from rwkv.collection.card_predictions import CardPredictions, doubt_of, predict_collection, predict_learner
from rwkv.collection.card_query import parse_query
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.learner import Learner, median_answer_ms, read_learner
from rwkv.data.collection import CardList
from rwkv.data.revlogs import read_history
from rwkv.data.tables import read_file, write_columns
from rwkv.errors import InputError
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import Place, reviews_of
from rwkv.recurrent.person import Question
from rwkv.vocab import SECONDS_PER_DAY
from tests.collection.people import DELETED, MODEL, NEW_ALONE, NEW_SIBLING, REVIEWED, SUSPENDED, id_of, make_person

# In probability, as between all forms of the network (spec 7).
TOLERANCE = 2e-5
# At which the curves of this network lie within days.
RETENTION = 0.4
LATER_S = 5 * SECONDS_PER_DAY


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_person(tmp_path_factory.mktemp("person"))


@pytest.fixture(scope="module")
def learner(person: Path) -> Learner:
    return read_learner(person, 1)


@pytest.fixture(scope="module")
def engine(learner: Learner) -> Iterator[Engine]:
    """Fed one review at a time."""
    engine = Engine(MODEL.runner, draw_sequence(1))
    for review in reviews_of(learner.history):
        engine.answer(review)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cards(learner: Learner) -> CardPredictions:
    return predict_learner(learner, MODEL, learner.end_s + LATER_S, retention=RETENTION, least_days=0)[0]


def row_of(cards: CardPredictions, card: int) -> int:
    (row,) = np.flatnonzero(cards.card_id == id_of(card))
    return int(row)


def question_of(learner: Learner, card: int) -> Question:
    """From the files alone: the card's number, and the time since its last review."""
    history = learner.history
    at_s = learner.end_s + LATER_S
    # The first ten reviews are of cards 0 to 9, in order, so these are their numbers too.
    last = int(np.flatnonzero(history.card == card)[-1])
    times_ms = np.cumsum(np.random.default_rng(5).integers(0, 40_000, 200))[: len(history)]
    elapsed_s = int(at_s) - int(learner.info.day_start_s + times_ms[last]) if learner.info else 0
    day = learner.day_of(at_s)
    return Question(card, day, day - int(history.day_offset[last]), elapsed_s)


def test_all_existing_cards_are_predicted(cards: CardPredictions) -> None:
    """The deleted one only in the history."""
    assert cards.card_id.tolist() == [id_of(card) for card in range(REVIEWED + 2) if card != DELETED]
    assert cards.note[row_of(cards, 3)] == "Wort 3"
    assert cards.deck[row_of(cards, 1)] == "Deutsch::Essen"
    assert cards.is_suspended[row_of(cards, SUSPENDED)]


@pytest.mark.parametrize("card", [card for card in range(REVIEWED) if card != DELETED])
def test_predictions_match_the_engine(learner: Learner, engine: Engine, cards: CardPredictions, card: int) -> None:
    row, question = row_of(cards, card), question_of(learner, card)
    output, curve = engine.predict(question), engine.curve(card)
    assert cards.p_now[row] == pytest.approx(output.p_imm, abs=TOLERANCE)
    assert cards.p_curve[row] == pytest.approx(output.p_ahead, abs=TOLERANCE)
    ratings = [cards.p_again, cards.p_hard, cards.p_good, cards.p_easy]
    assert output.p_all is not None
    np.testing.assert_allclose([column[row] for column in ratings], output.p_all, rtol=0, atol=TOLERANCE)
    assert cards.elapsed_days[row] == pytest.approx(question.elapsed_s / SECONDS_PER_DAY)
    interval_s = curve.interval(RETENTION)
    assert interval_s is not None
    # The interval is where the curve is at the retention, or below it from the first second on.
    assert curve(cards.interval_days[row] * SECONDS_PER_DAY) == pytest.approx(curve(interval_s), abs=TOLERANCE)
    assert cards.left_days[row] == pytest.approx(cards.interval_days[row] - cards.elapsed_days[row])


@pytest.mark.parametrize("card", [0, 5, SUSPENDED])
def test_intervals_of_buttons_match_the_engine(
    learner: Learner, engine: Engine, cards: CardPredictions, card: int
) -> None:
    """Each with the person's own time for it, and none before another."""
    row, times = row_of(cards, card), median_answer_ms(learner.history)
    ours = [cards.days_again, cards.days_hard, cards.days_good, cards.days_easy]
    longest = 0.0
    for i, (column, duration_ms) in enumerate(zip(ours, times, strict=True)):
        button = engine.buttons(question_of(learner, card), RETENTION, duration_ms=duration_ms)[i]
        assert button.interval_s is not None
        longest = max(longest, button.interval_s)
        recalls = button.curve([column[row] * SECONDS_PER_DAY, longest])
        assert recalls[0] == pytest.approx(recalls[1], abs=TOLERANCE)


@pytest.mark.parametrize(("card", "note"), [(NEW_SIBLING, 0), (NEW_ALONE, 5)])
def test_predictions_of_a_card_without_reviews(
    learner: Learner, engine: Engine, cards: CardPredictions, card: int, note: int
) -> None:
    """RWKV-P knows its note, deck and preset; it has no curve yet, but each button leads to one."""
    row = row_of(cards, card)
    place = Place(note, card % 3, 0 if card % 3 < 2 else 1)
    day = learner.day_of(learner.end_s + LATER_S)
    output = engine.predict(Question(card, day, -1, -1, place))
    assert cards.p_now[row] == pytest.approx(output.p_imm, abs=TOLERANCE)
    for name in ("p_curve", "elapsed_days", "interval_days", "left_days", "due_in_days"):
        assert np.isnan(cards.columns[name][row])
    buttons = [cards.columns[f"days_{name}"][row] for name in ("again", "hard", "good", "easy")]
    assert np.all(np.diff(buttons) >= 0)


def test_least_days_bound_the_intervals(learner: Learner, cards: CardPredictions) -> None:
    bounded = predict_learner(learner, MODEL, learner.end_s + LATER_S, retention=RETENTION, least_days=0.3)[0]
    names = ["interval_days", "days_again", "days_hard", "days_good", "days_easy"]
    ours = np.stack([bounded.columns[name] for name in names])
    freely = np.stack([cards.columns[name] for name in names])
    assert np.nanmin(freely) < 0.3 <= np.nanmin(ours)
    # A longer one is as it was; it is found between other looks at the curve, to far below a second.
    longer = cards.interval_days > 0.3
    np.testing.assert_allclose(bounded.interval_days[longer], cards.interval_days[longer], rtol=1e-5)


def test_each_card_has_the_retention_of_its_preset(learner: Learner, cards: CardPredictions) -> None:
    own = predict_learner(learner, MODEL, learner.end_s + LATER_S)[0]
    assert set(own.desired_retention[own.preset == "Hard ones"]) == {0.8}
    assert set(own.desired_retention[own.preset == "Default"]) == {0.9}
    assert set(cards.desired_retention) == {RETENTION}


@pytest.mark.parametrize("query", ["deck:Deutsch -is:new", "prop:p<0.9 or is:suspended", "prop:left<=0", "cid:1"])
def test_a_query_selects_cards_without_changing_predictions(
    learner: Learner, cards: CardPredictions, query: str
) -> None:
    asked = parse_query(query)
    chosen = predict_learner(learner, MODEL, learner.end_s + LATER_S, asked, RETENTION, 0)[0]
    expected = cards.rows(asked.matches(cards.columns))
    assert 0 < len(expected) < len(cards) or query == "cid:1"
    assert chosen.card_id.tolist() == expected.card_id.tolist()
    np.testing.assert_allclose(chosen.p_now, expected.p_now, rtol=0, atol=TOLERANCE)


def test_predictions_in_parts_equal_the_whole(
    learner: Learner, cards: CardPredictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rwkv.collection.card_predictions._TOGETHER", 4)
    monkeypatch.setattr("rwkv.recurrent.predictions._OUTLOOKS_PER_PASS", 3)
    assert_close(predict_learner(learner, MODEL, learner.end_s + LATER_S, retention=RETENTION, least_days=0)[0], cards)


def predicted(root: Path, model: ChosenModel = MODEL) -> CardPredictions:
    return predict_collection(root, 1, model, read_learner(root, 1).end_s + LATER_S)


def assert_close(ours: CardPredictions, expected: CardPredictions) -> None:
    np.testing.assert_allclose(ours.p_now, expected.p_now, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours.p_curve, expected.p_curve, rtol=0, atol=TOLERANCE)


# --- A model that does not know this person


def test_many_intervals_at_the_floor_give_a_warning(learner: Learner) -> None:
    """Where nearly all are, whatever the button; with the share that is there."""
    late = learner.end_s + LATER_S
    short = predict_learner(learner, MODEL, late, retention=0.9, least_days=50)[0]
    assert len(short) == 11
    names = ("days_again", "days_hard", "days_good", "days_easy")
    share = np.mean([column <= 50 for name, column in short.columns.items() if name in names])
    assert share > 0.9
    words = (
        f"{share:.0%} of your intervals are the shortest possible, 50 d, even after Easy: "
        "this model does not fit your reviews"
    )
    assert doubt_of(short, 50) == words
    assert doubt_of(predict_learner(learner, MODEL, late, retention=0.99, least_days=50)[0], 50) == (
        f"{words}, or a desired retention of 99% is too high"
    )


def test_few_short_intervals_or_few_cards_give_no_warning(learner: Learner, cards: CardPredictions) -> None:
    """Nor a short interval after Again alone."""
    assert doubt_of(cards, 0) is None
    long = replace(cards, days_hard=np.full(11, 3.0), days_good=np.full(11, 4.0), days_easy=np.full(11, 5.0))
    assert doubt_of(replace(long, days_again=np.ones(11)), 1) is None
    ones = np.ones(11)
    flat = replace(cards, days_again=ones, days_hard=ones, days_good=ones, days_easy=ones)
    assert doubt_of(flat, 1) is not None
    assert doubt_of(flat.rows(np.arange(9)), 1) is None
    assert doubt_of(flat.rows(np.arange(0)), 1) is None


# --- Which cards


def test_queries_match_tags_and_days(tmp_path: Path) -> None:
    """By the files alone: tags of the collection, days of the ids and of the history."""
    root = make_person(tmp_path)
    learner = read_learner(root, 1)
    today, history = learner.day_of(learner.end_s), learner.history
    recent, lately_again = history.day_offset > today - 3, history.rating == 1
    existing = [card for card in range(REVIEWED + 2) if card != DELETED]
    expected = {
        "tag:essen": [card for card in existing if card % 3],
        "tag:leicht -tag:none": [card for card in existing if card % 3 == 2],
        "rated:3": [card for card in existing if card in history.card[recent]],
        "rated:3:1": [card for card in existing if card in history.card[recent & lately_again]],
        "rated:3:1 prop:p>=0": [card for card in existing if card in history.card[recent & lately_again]],
        "added:1": [],
    }
    # The ids are of September 2020.
    expected["added:1200"] = existing
    for query, requested in expected.items():
        result = predict_learner(learner, MODEL, learner.end_s, parse_query(query))[0]
        assert result.card_id.tolist() == [id_of(card) for card in requested], query
    assert 0 < len(expected["rated:3:1"]) < len(expected["rated:3"]) < len(existing)


def test_an_older_import_has_no_tags(tmp_path: Path) -> None:
    root = make_person(tmp_path)
    path = root / "collection" / "user_id=1" / "cards.parquet"
    names = [field.name for field in fields(CardList) if field.name != "tags"]
    table = read_file(path, str(path), tuple(names))
    columns = {name: table[name].values for name in names}
    write_columns(path, columns | {"due_day": columns["due_day"].astype(np.float64)})
    with pytest.raises(InputError, match="import the collection again"):
        predict_collection(root, 1, MODEL, query=parse_query("tag:x"))
    assert len(predict_collection(root, 1, MODEL, query=parse_query("is:new"))) == 2


# --- Plain dataset folders


def test_a_plain_dataset_has_ids_and_the_same_numbers(tmp_path: Path, cards: CardPredictions) -> None:
    """Every card of the history; nothing is written. Moments within a day are estimated, so only days can be equal."""
    root = make_person(tmp_path)
    for path in (root / "collection").rglob("*.*"):
        path.unlink()
    plain = predicted(root)
    assert sorted(plain.card_id.tolist()) == [id_of(card) for card in range(REVIEWED)]
    assert set(plain.note) == {""}
    assert not list(root.rglob("*.rwkv"))
    known = {card: days for card, days in zip(cards.card_id, cards.elapsed_days, strict=True) if not np.isnan(days)}
    for card, days in zip(plain.card_id, plain.elapsed_days, strict=True):
        if card in known:
            assert days == pytest.approx(known[card], abs=1)
    assert len(read_history(root, 1)) == 80
