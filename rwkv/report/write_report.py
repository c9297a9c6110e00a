"""Write a report on a collection and on training runs as one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.collection.cached_import import source_of
from rwkv.collection.chosen_model import ChosenModel, choose_model
from rwkv.collection.learner import choose_user, read_learner
from rwkv.collection.moment import moment_of, moment_text
from rwkv.collection.own_past import OwnPast, past_of, past_sentence
from rwkv.collection.users import users_in
from rwkv.data.collection import DEFAULT_RETENTION
from rwkv.errors import InputError, RwkvError
from rwkv.evaluation.fsrs_training import has_trainer
from rwkv.files import write_whole
from rwkv.plurals import counted
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
from rwkv.runtime import Failures, log

_DEFAULT_FSRS = 'default parameters; `pip install "rwkv-srs[compare]"` adds parameters optimised on the reviews'


@dataclass(frozen=True)
class ReportOptions:
    """The options of a report.

    Attributes:
        folder: A folder written by `rwkv import`, or a dataset; None for training runs only.
        user: The user number; None for the only one of the folder.
        compared: The users of the comparison; None for the report's user.
        at: The moment, as for `rwkv predict --at`; None for now.
        training: Training logs, or folders of them.
    """

    folder: Path | None
    user: int | None = None
    compared: Sequence[int] | None = None
    model: Path | None = None
    at: str | None = None
    training: Sequence[Path] = ()


@dataclass(frozen=True)
class WrittenReport:
    """A written report.

    Attributes:
        notice: A notice about the model and its scores on the person's past, or None.
        past: These scores, or None.
        predicted: The number of reviews with predictions.
        exit_code: 0, or 1 if a compared user was skipped.
    """

    path: Path
    size: int
    model: Path | None
    notice: str | None
    past: OwnPast | None
    cards: int
    predicted: int
    exit_code: int


def write_report(options: ReportOptions, out: Path) -> WrittenReport:
    """Compute a report, and write it atomically.

    Args:
        options: The options.
        out: The HTML file.

    Raises:
        InputError: An option is wrong, or there is nothing to report on.
        HistoryError: The history cannot be used.
        CheckpointError: The file of weights cannot be used.
    """
    training = read_training_runs(options.training)
    failures = Failures()
    if options.folder is not None:
        content, model, past = _collection(options, options.folder, failures)
        content = replace(content, training=training)
    elif training:
        content, model, past = _training_only(training), None, None
    else:
        hint = "choose a collection or a folder, or a training log (`training`)"
        raise InputError("There is nothing to report on.", where="`folder`", got="none", hint=hint)
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
    """The number of the person's predicted reviews."""
    return 0 if content.reviews is None else int((content.reviews.person == content.own).sum())


def _training_only(training: Sequence[TrainingRun]) -> ReportContent:
    return ReportContent("Training", ", ".join(run.name for run in training), training=training)


def _collection(options: ReportOptions, folder: Path, failures: Failures) -> tuple[ReportContent, ChosenModel, OwnPast]:
    if not has_trainer():
        log.info("FSRS-6 has %s", _DEFAULT_FSRS)
    learner = read_learner(folder, choose_user(folder, options.user))
    compared = [learner.user] if options.compared is None else users_in(folder, options.compared)
    at_s = moment_of(options.at, learner)
    model = choose_model(options.model)
    engine, predictions = feed_history(learner, model.runner)
    try:
        own = predict_past(learner, predictions)
        cards = cards_now(engine, learner, at_s)
        due, work = today(engine, learner, at_s), workload(engine, learner, at_s, cards)
    finally:
        engine.close()
    others = _others(folder, [user for user in compared if user != learner.user], model, failures)
    people = sorted([*others, *([own] if learner.user in compared else [])], key=lambda one: one.learner.user)
    past = past_of(own.counted)
    size = f"{counted(len(learner.cards), 'card')} · {counted(len(learner.history), 'review')}"
    content = ReportContent(
        title=learner.name,
        subtitle=f"As of {moment_text(at_s, learner)} · {size}",
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
    """Predictions of the other users. Those with bad data are logged."""
    people = []
    for user in users:
        try:
            person = read_learner(folder, user)
            engine, predictions = feed_history(person, model.runner)
            engine.close()
            people.append(predict_past(person, predictions))
        except RwkvError as error:
            failures.add(user, error)
    return people


def _notice(model: ChosenModel, past: OwnPast) -> str | None:
    """A notice about the model and its scores on the person's past."""
    return None if model.notice is None else f"Predicted by {model.notice}. {past_sentence(past)}."


def _facts(
    folder: Path, model: ChosenModel, own: PersonPredicted, people: Sequence[PersonPredicted]
) -> list[tuple[str, str]]:
    users = ", ".join(str(person.learner.user) for person in people) or "none"
    is_own = len(people) == 1 and people[0] is own
    compared = [] if is_own else [("Compared", f"users {users}; the rest of this page is about {own.learner.name}")]
    return [
        ("Model", str(model.path)),
        ("Collection", source_of(folder)),
        ("Recall", "the probability of recall by the forgetting curve (RWKV), unless another algorithm is named"),
        ("Predictions", "each from the reviews before it; see `rwkv compare`"),
        ("Today", "the reviews of `rwkv schedule` at this moment"),
        *([] if has_trainer() else [("FSRS-6", _DEFAULT_FSRS)]),
        *compared,
    ]
