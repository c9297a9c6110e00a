"""`rwkv report`: its numbers of a person, against the engine and `compare`, the file it writes, and its errors."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rwkv import cli
from rwkv.collection.card_predictions import predict_learner
from rwkv.collection.chosen_model import DEMO_NOTICE
from rwkv.collection.compare_users import compare_users
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, questions_at, read_learner
from rwkv.collection.own_past import OwnPast, past_sentence
from rwkv.data.collection import CardList, read_collection, write_collection
from rwkv.data.keys import benchmark_keys
from rwkv.evaluation.summary import means
from rwkv.model.card import CARD, DEMO, TRAINED_BY
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from rwkv.report.cards import cards_now
from rwkv.report.content import CURVE_TIMES_S
from rwkv.report.content import NEW as NEW_KIND
from rwkv.report.past_predictions import (
    PersonPredicted,
    comparison_rows,
    feed_history,
    joined_reviews,
    losses_by_person,
    predict_past,
    who_is_ahead,
)
from rwkv.report.past_reviews import deck_names, past_reviews
from tests.benchmark.workspace import add_users
from tests.collection.people import MODEL, id_of
from tests.collection.student import CARDS, DAY, DELETED, NEW, SUSPENDED, make_student
from tests.helpers import revlog_columns, write_history
from tests.networks import recipe_network
from tests.report.page.test_html import data_of

# In probability, as between all forms of the network (spec 7).
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_student(tmp_path_factory.mktemp("student")), 1)


@pytest.fixture(scope="module")
def person(learner: Learner) -> PersonPredicted:
    return predicted(learner)


def predicted(learner: Learner) -> PersonPredicted:
    engine, output = feed_history(learner, MODEL.runner)
    engine.close()
    return predict_past(learner, output)


# --- Cards


def test_cards_match_the_engine(learner: Learner) -> None:
    at_s = learner.end_s + 3 * DAY
    engine, _ = fed_engine(learner, MODEL)
    cards = cards_now(engine, learner, at_s)
    assert cards.card_id.tolist() == learner.cards.card_id.tolist()
    for row, number in enumerate(learner.number.tolist()):
        if number >= learner.reviewed:
            assert np.isnan([cards.p_now[row], cards.p_asked[row], cards.elapsed_s[row], *cards.curves[row]]).all()
            continue
        (question,) = questions_at(learner, np.array([row]), at_s)
        assert cards.p_now[row] == pytest.approx(engine.curve(number)(at_s - learner.latest_s[row]), abs=TOLERANCE)
        assert cards.p_asked[row] == pytest.approx(engine.predict(question).p_imm, abs=TOLERANCE)
        assert cards.curves[row] == pytest.approx(engine.curve(number)(CURVE_TIMES_S), abs=TOLERANCE)
        assert cards.elapsed_s[row] == pytest.approx(question.elapsed_s, abs=1)
    by_predict, _ = predict_learner(learner, MODEL, at_s)
    assert cards.interval_days == pytest.approx(by_predict.interval_days, rel=1e-4, nan_ok=True)
    assert cards.p_now == pytest.approx(by_predict.p_curve, abs=TOLERANCE, nan_ok=True)
    assert (cards.kind == NEW_KIND).tolist() == learner.cards.is_new.tolist()
    row_of = {card: row for row, card in enumerate(cards.card_id.tolist())}
    assert np.isnan(cards.p_now[row_of[id_of(NEW)]])
    assert np.flatnonzero(cards.suspended).tolist() == [row_of[id_of(SUSPENDED)]]
    assert [deck_names(learner)[deck] for deck in cards.deck] == learner.cards.deck.tolist()
    engine.close()


# --- Past reviews


def test_counted_reviews_match_compare(learner: Learner, person: PersonPredicted) -> None:
    (expected,) = compare_users(learner.root, [1], MODEL.runner).users
    counted = person.counted
    assert counted.review_th.tolist() == expected.review_th.tolist()
    assert (counted.y.tolist(), counted.bins.tolist()) == (expected.y.tolist(), expected.bins.tolist())
    assert counted.p.keys() == expected.p.keys()
    for name, p in expected.p.items():
        # The engine's recurrent form here, the parallel one there.
        assert counted.p[name] == pytest.approx(p, abs=TOLERANCE)
    rows = comparison_rows([person])
    estimates = counted.estimates()
    assert {row.name: row.metrics["LogLoss"] for row in rows} == {
        name: metrics["LogLoss"] for name, metrics in estimates.items()
    }
    assert who_is_ahead([person]) == {}


def test_same_day_reviews_are_predicted_by_rwkv_alone(learner: Learner, person: PersonPredicted) -> None:
    table, reviews = learner.history, joined_reviews([person], [deck_names(learner)])
    short = benchmark_keys(table, short=True, secs=True)
    same_day = short.review_ths[table.elapsed_days[np.searchsorted(table.review_th, short.review_ths)] == 0]
    assert reviews.same_day.sum() == len(same_day) > 0
    assert len(reviews) == len(same_day) + len(person.counted)
    assert (reviews.elapsed_s[reviews.same_day] < DAY).all()
    for name, p in reviews.p.items():
        known = ~np.isnan(p)
        assert known.all() if name in ("RWKV", "RWKV-P") else (known == ~reviews.same_day).all()


def test_reviews_have_decks_and_dates(learner: Learner, person: PersonPredicted) -> None:
    table, reviews = learner.history, joined_reviews([person], [deck_names(learner)])
    assert learner.info is not None
    rows = np.searchsorted(table.review_th, person.counted.review_th)
    later = ~reviews.same_day
    # Day 0 began on 15 November 2023, which is day 19,676 since 1970.
    assert reviews.has_dates
    assert reviews.day[later].tolist() == (19_676 + table.day_offset[rows]).tolist()
    deck_of = dict(zip(learner.number.tolist(), learner.cards.deck.tolist(), strict=True))
    names = [*deck_names(learner), None]
    assert [names[deck] for deck in reviews.deck[later]] == [deck_of.get(card) for card in table.card[rows].tolist()]
    assert (reviews.deck == -1).any()  # reviews of DELETED
    assert id_of(DELETED) not in learner.cards.card_id


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain dataset of two users, and a third who cannot be read."""
    root = tmp_path_factory.mktemp("plain")
    add_users(root, (1, 2))
    write_history(root, 3, {"card_id": [1, 2]})
    return root


def test_several_people_are_joined(plain: Path) -> None:
    people = [predicted(read_learner(plain, user)) for user in (1, 2)]
    reviews = joined_reviews(people, [deck_names(person.learner) for person in people])
    assert len(reviews) == sum(len(person.row) for person in people)
    assert np.bincount(reviews.person).tolist() == [len(person.row) for person in people]
    assert not reviews.has_dates
    for name, p in reviews.p.items():
        assert np.array_equal(p, np.concatenate([one.p[name][one.row] for one in people]), equal_nan=True)
    scores = {name: {i: person.counted.scores()[name] for i, person in enumerate(people)} for name in reviews.p}
    expected = means(scores, [0, 1]).weighted
    for row in comparison_rows(people):
        assert row.users == 2
        assert row.metrics["LogLoss"] == expected[row.name]["LogLoss"]
    ahead = who_is_ahead(people)
    assert ahead["RWKV"]["AVG"] + ahead["AVG"]["RWKV"] == 1
    losses = losses_by_person(people)
    assert losses["user 2"]["RWKV"] == people[1].counted.scores()["RWKV"].metrics["LogLoss"]


def test_nothing_counts_without_enough_reviews(tmp_path: Path) -> None:
    write_history(tmp_path, 1, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    person = predicted(read_learner(tmp_path, 1))
    assert (len(person.row), comparison_rows([person])) == (0, [])


def test_past_reviews_have_cards_and_hours(learner: Learner, person: PersonPredicted) -> None:
    past = past_reviews(learner, person.p)
    assert len(past) == len(learner.history)
    known = past.card >= 0
    assert (learner.number[past.card[known]] == learner.history.card[known]).all()
    assert not known.all()  # reviews of DELETED
    # The day begins at 4:00 on the clock, and the made-up reviews at the start of their day.
    assert set(past.hour.tolist()) == {4}


# --- The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the card of a demo."""
    path = tmp_path_factory.mktemp("demo") / "model.safetensors"
    write_weights(path, recipe_network(PUBLISHED).state_dict(), {CARD: json.dumps({"weights": {TRAINED_BY: DEMO}})})
    return path


LOG = """\
{"step": 1, "learning_rate": 0.001, "loss": 1.5, "ahead": null}
{"step": 2, "learning_rate": 0.002, "loss": 1.25, "ahead": 0.5}
{"step": 2, "validation_ahead_equalize": 0.33}
{"step": 3, "learning_"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A run that is under way: the last line is not whole."""
    path = tmp_path / "pretrain" / "rwkv_WS.log.jsonl"
    path.parent.mkdir()
    path.write_text(LOG)
    return path


@pytest.mark.usefixtures("few_plays")
def test_a_person_a_model_and_a_training(
    tmp_path: Path, model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_student(tmp_path / "student"), tmp_path / "out" / "page.html"
    arguments = ["report", str(root), "--model", str(model), "--training", str(log), "--at", "2030-01-02T03:04"]
    assert cli.main([*arguments, "--out", str(out), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["path"] == str(out)
    assert output["size"] == out.stat().st_size
    data = data_of(out.read_text())
    facts = data.facts
    assert facts["title"] == "Ada"
    assert str(facts["subtitle"]).startswith("As of 2030-01-02 03:04 (UTC+02:00) · 61 cards · ")
    assert (
        output["notice"]
        == facts["notice"]
        == f"Predicted by {DEMO_NOTICE}. {past_sentence(OwnPast(**output['past']))}."
    )
    assert "FSRS-6 (optimised on yours)" in output["notice"]
    assert {"cards", "predicted", "workload", "past", "due", "forecast", "trust"} <= facts.keys()
    assert output["cards"] == len(data.arrays["id"]) == CARDS - 1
    assert output["predicted"] == facts["predicted"]["reviews"]
    assert [run["name"] for run in facts["training"]] == ["rwkv_WS"]
    assert [row["name"] for row in facts["comparison"]][:3] == ["RWKV-P", "RWKV", "FSRS-6"]
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


@pytest.mark.usefixtures("few_plays")
def test_an_unreadable_compared_user_is_reported(
    plain: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    asked = ["report", str(plain), "--user", "1", "--compared", "1-3", "--model", str(model), "--out", str(out)]
    assert cli.main(asked) == 1
    assert re.search(r"user 3 skipped", capsys.readouterr().err)
    facts = data_of(out.read_text()).facts
    assert {row["users"] for row in facts["comparison"]} == {2}
    assert facts["superiority"]
    assert list(facts["compared"]) == ["user 1", "user 2"]
    # All else is of the one person: title, cards, past, trust, and the predictions that are shown first.
    assert facts["title"] == "user 1"
    assert facts["predicted"]["people"][facts["predicted"]["own"]] == "user 1"
    assert facts["past"]["reviews"] == len(read_learner(plain, 1).history)


@pytest.mark.usefixtures("few_plays")
@pytest.mark.parametrize("are_deleted", [False, True])
def test_a_collection_without_reviewable_cards(tmp_path: Path, model: Path, are_deleted: bool) -> None:
    """All cards are suspended, or deleted: the past is shown, and nothing is due."""
    root = make_student(tmp_path / "student")
    collection = read_collection(root, 1)
    rows = slice(0) if are_deleted else slice(None)
    columns = {name: column[rows] for name, column in vars(collection.cards).items() if column is not None}
    columns["is_suspended"] = np.ones(len(columns["card_id"]), bool)
    write_collection(root, replace(collection, cards=CardList(**columns)))
    out = tmp_path / "page.html"
    assert (
        cli.main(["report", str(root), "--model", str(model), "--at", "2030-01-02", "--out", str(out), "--quiet"]) == 0
    )
    facts = data_of(out.read_text()).facts
    assert facts["due"] == {"reviews": 0, "minutes": 0, "recall": None}
    assert facts["past"]["reviews"] > 0
    assert ("cards" in facts) is not are_deleted


def test_training_alone_needs_no_model(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "--training", str(log.parent), "--quiet"]) == 0
    facts = data_of((tmp_path / "report.html").read_text()).facts
    assert facts["training"] == [
        {
            "name": "rwkv_WS",
            "curves": {
                "learning_rate": {"step": [1, 2], "value": [0.001, 0.002]},
                "loss": {"step": [1, 2], "value": [1.5, 1.25]},
                "ahead": {"step": [2], "value": [0.5]},
                "validation_ahead_equalize": {"step": [2], "value": [0.33]},
            },
        }
    ]


def test_bad_input_leaves_the_old_report(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    broken = log.with_name("broken.log.jsonl")
    broken.write_text('{"step": 1, "loss": 2}\n["no", "step"]\n')
    empty = log.with_name("empty.log.jsonl")
    empty.write_text("")
    (tmp_path / "nothing").mkdir()
    for arguments, words in [
        ([], ["nothing to report on", "choose a collection"]),
        (["--training", str(tmp_path / "none.log.jsonl")], ["training log does not exist", "none.log.jsonl"]),
        (
            ["--training", str(tmp_path / "nothing")],
            ["has no training logs", "choose the folder in which a training saved"],
        ),
        (["--training", str(broken)], ["not a training log", "broken.log.jsonl, line 2"]),
        (["--training", str(empty)], ["has no steps"]),
        ([str(tmp_path / "nothing")], ["nothing"]),
    ]:
        assert cli.main(["report", *arguments, "--out", str(out)]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        for word in words:
            assert word in output.err
    assert out.read_text() == "old"
