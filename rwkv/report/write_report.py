"""A report on somebody's collection, and on training runs: one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.collection.chosen_model import ChosenModel, choose_model
from rwkv.collection.learner import choose_user, read_learner
from rwkv.collection.moment import moment_of, written
from rwkv.collection.own_past import OwnPast, past_of, past_sentence
from rwkv.collection.users import users_in
from rwkv.data.collection import DEFAULT_RETENTION
from rwkv.errors import InputError, RwkvError
from rwkv.evaluation.fsrs_training import trainer
from rwkv.files import write_whole
from rwkv.report.cards import cards_now
from rwkv.report.content import ReportContent, TrainingRun
from rwkv.report.page.data import report_data
from rwkv.report.page.html import report_html
from rwkv.report.past_predictions import (
    PersonPredicted,
    comparison_rows,
    feed_history,
    losses_by_person,
    predict_past,
    who_is_ahead,
    with_predictions,
)
from rwkv.report.past_reviews import deck_names, first_day, past_reviews
from rwkv.report.training_logs import read_training_runs
from rwkv.report.workload import today, workload
from rwkv.runtime import Failures


@dataclass(frozen=True)
class Asked:
    """What a report is to be of. folder: None for training runs only. user: None for the only one there. compared: the
    users whose past reviews are predicted, None for that one. at: a moment as people write it. training: logs, or
    folders of them.
    """

    folder: Path | None
    user: int | None = None
    compared: Sequence[int] | None = None
    model: Path | None = None
    at: str | None = None
    training: Sequence[Path] = ()


@dataclass(frozen=True)
class WrittenReport:
    """What came of it. notice, past: what the model is, and how it did on the person's past. predicted: reviews with
    predictions. exit_code: 1 where a compared user had to be skipped.
    """

    path: Path
    size: int
    model: Path | None
    notice: str | None
    past: OwnPast | None
    cards: int
    predicted: int
    exit_code: int


def write_report(asked: Asked, out: Path) -> WrittenReport:
    """Compute everything, then write the file; a kill leaves the old file or the new one.

    Raises InputError where there is nothing to report on, HistoryError, CheckpointError.
    """
    training = read_training_runs(asked.training)
    failures = Failures()
    if asked.folder is not None:
        content, model, past = _collection(asked, asked.folder, failures)
        content = replace(content, training=training)
    elif training:
        content, model, past = _training_only(training), None, None
    else:
        raise InputError("There is nothing to report on.", hint="name a folder, or a training log with --training")
    page = report_html(report_data(content))
    write_whole(out, page)
    return WrittenReport(
        path=out,
        size=len(page),
        model=None if model is None else model.path,
        notice=content.notice,
        past=past,
        cards=0 if content.cards is None else len(content.cards),
        predicted=_predicted(content),
        exit_code=failures.exit_code(),
    )


def _predicted(content: ReportContent) -> int:
    """How many of the person's own reviews."""
    return 0 if content.reviews is None else int((content.reviews.person == content.own).sum())


def _training_only(training: Sequence[TrainingRun]) -> ReportContent:
    return ReportContent("Training", ", ".join(run.name for run in training), training=training)


def _collection(asked: Asked, folder: Path, failures: Failures) -> tuple[ReportContent, ChosenModel, OwnPast]:
    trainer()  # whatever is missing is said before anything takes time
    learner = read_learner(folder, choose_user(folder, asked.user))
    compared = [learner.user] if asked.compared is None else users_in(folder, asked.compared)
    at_s = moment_of(asked.at, learner)
    model = choose_model(asked.model)
    engine, predictions = feed_history(learner, model.network)
    try:
        own = predict_past(learner, predictions)
        cards = cards_now(engine, learner, at_s)
        due, work = today(engine, learner, at_s), workload(engine, learner, at_s, cards)
    finally:
        engine.close()
    others = _others(folder, [user for user in compared if user != learner.user], model, failures)
    people = sorted([*others, *([own] if learner.user in compared else [])], key=lambda one: one.learner.user)
    past = past_of(own.counted)
    content = ReportContent(
        title=learner.name,
        subtitle=f"As of {written(at_s, learner)} · {len(learner.cards):,} cards · {len(learner.history):,} reviews",
        notice=_notice(model, past),
        facts=_facts(folder, model, own, people),
        today=first_day(learner) + learner.day_of(at_s),
        decks=deck_names(learner),
        retention=float(np.median(learner.cards.desired_retention)) if len(learner.cards) else DEFAULT_RETENTION,
        past=past_reviews(learner, own.p),
        cards=cards,
        due=due,
        workload=work,
        comparison=comparison_rows(people),
        compared=losses_by_person(people),
        superiority=who_is_ahead(people),
    )
    return with_predictions(content, own, people), model, past


def _others(folder: Path, users: Sequence[int], model: ChosenModel, failures: Failures) -> list[PersonPredicted]:
    """Everybody beside the learner; those whose data is bad are told in the log."""
    people = []
    for user in users:
        try:
            person = read_learner(folder, user)
            engine, predictions = feed_history(person, model.network)
            engine.close()
            people.append(predict_past(person, predictions))
        except RwkvError as error:
            failures.add(user, error)
    return people


def _notice(model: ChosenModel, past: OwnPast) -> str | None:
    """What the model is, and how it did on the person's past."""
    return None if model.notice is None else f"Predicted by {model.notice}. {past_sentence(past)}."


def _facts(
    folder: Path, model: ChosenModel, own: PersonPredicted, people: Sequence[PersonPredicted]
) -> list[tuple[str, str]]:
    users = ", ".join(str(person.learner.user) for person in people) or "none"
    is_own = len(people) == 1 and people[0] is own
    compared = [] if is_own else [("Compared", f"users {users}; all else on this page is of {own.learner.name}")]
    return [
        ("Model", str(model.path)),
        ("Folder", str(folder)),
        ("Recall", "the probability of recall at a moment by the forgetting curve (RWKV), unless another is named"),
        ("Predictions", "each of a past review from what came before it, see `rwkv compare`"),
        ("Today", "what `rwkv schedule` asks at this moment"),
        *compared,
    ]
