"""A report on somebody's collection, and on training runs: one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.commands.chosen_model import ChosenModel, choose_model
from rwkv.commands.fed_engine import fed_engine
from rwkv.commands.learner import Learner, choose_user, read_learner
from rwkv.commands.moment import moment_of, written
from rwkv.commands.report_cards import WORKLOAD_DAYS, cards_now, workload
from rwkv.commands.report_predictions import (
    PersonPredicted,
    comparison_rows,
    deck_names,
    joined_reviews,
    predict_past,
    who_is_ahead,
)
from rwkv.commands.training_logs import read_training_runs
from rwkv.commands.users import users_in
from rwkv.data.collection import DEFAULT_RETENTION
from rwkv.errors import InputError, RwkvError
from rwkv.evaluation.fsrs_training import trainer
from rwkv.evaluation.report_content import CURVE_TIMES_S, ReportContent, TrainingRun
from rwkv.evaluation.report_data import RECALL_STEPS, report_data
from rwkv.evaluation.report_page import report_html
from rwkv.files import write_whole
from rwkv.runtime import Failures, progress


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
    """What came of it. predicted: reviews with predictions. exit_code: 1 where a compared user had to be skipped."""

    path: Path
    size: int
    model: Path | None
    notice: str | None
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
        content, model = _collection(asked, asked.folder, failures)
        content = replace(content, training=training)
    elif training:
        content, model = _training_only(training), None
    else:
        raise InputError("There is nothing to report on.", hint="name a folder, or a training log with --training")
    page = report_html(report_data(content))
    write_whole(out, page)
    return WrittenReport(
        path=out,
        size=len(page),
        model=None if model is None else model.path,
        notice=None if model is None else model.notice,
        cards=0 if content.cards is None else len(content.cards),
        predicted=0 if content.reviews is None else len(content.reviews),
        exit_code=failures.exit_code(),
    )


def _training_only(training: Sequence[TrainingRun]) -> ReportContent:
    return ReportContent("Training", ", ".join(run.name for run in training), training=training)


def _collection(asked: Asked, folder: Path, failures: Failures) -> tuple[ReportContent, ChosenModel]:
    trainer()  # whatever is missing is said before anything takes time
    learner = read_learner(folder, choose_user(folder, asked.user))
    compared = [learner.user] if asked.compared is None else users_in(folder, asked.compared)
    at_s = moment_of(asked.at, learner)
    model = choose_model(asked.model)
    people = _people(folder, compared, learner, model, failures)
    engine = fed_engine(learner, model)
    try:
        cards, work = cards_now(engine, learner, at_s), workload(engine, learner, at_s)
    finally:
        engine.close()
    reviews, decks_of_reviews = joined_reviews(people) if people else (None, [])
    retention = float(np.median(learner.cards.desired_retention)) if len(learner.cards) else DEFAULT_RETENTION
    content = ReportContent(
        title=learner.name,
        subtitle=f"As of {written(at_s, learner)} · {len(learner.cards):,} cards · {len(learner.history):,} reviews",
        notice=None if model.notice is None else f"The model was {model.notice}.",
        facts=_facts(folder, model, people),
        decks=deck_names(learner),
        decks_of_reviews=decks_of_reviews,
        retention=retention,
        reviews=reviews,
        cards=cards,
        workload=work,
        comparison=comparison_rows(people),
        superiority=who_is_ahead(people),
    )
    return content, model


def _people(
    folder: Path, users: Sequence[int], learner: Learner, model: ChosenModel, failures: Failures
) -> list[PersonPredicted]:
    """Everybody whose past reviews can be predicted; those whose data is bad are told in the log."""
    found = []
    for user in progress(users, len(users), "past reviews"):
        try:
            one = predict_past(learner if user == learner.user else read_learner(folder, user), model.network)
        except RwkvError as error:
            failures.add(user, error)
            continue
        if one is not None:
            found.append(one)
    return found


def _facts(folder: Path, model: ChosenModel, people: Sequence[PersonPredicted]) -> list[tuple[str, str]]:
    users = ", ".join(str(person.learner.user) for person in people) or "none"
    return [
        ("Model", str(model.path)),
        ("Folder", str(folder)),
        ("Predictions", f"of past reviews of user {users}, each from what came before it; see `rwkv compare`"),
        (
            "Map, curves",
            f"in steps of 1/{RECALL_STEPS}; curves at {len(CURVE_TIMES_S)} times from a minute to 20 years",
        ),
        ("Workload", f"{WORKLOAD_DAYS} days, played through once with answers drawn by RWKV-P; see `rwkv schedule`"),
    ]
