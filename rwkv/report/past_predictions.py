"""Predictions of past reviews for a report: those that the benchmark counts, and same-day reviews."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from rwkv.arrays import AnyFloats, Ints
from rwkv.collection.engine_cache import feed_rest
from rwkv.collection.learner import Learner
from rwkv.collection.own_past import counted_reviews, with_baselines
from rwkv.data.keys import benchmark_keys
from rwkv.evaluation.comparison import Comparison, baseline_predictions, trained_predictions
from rwkv.evaluation.fsrs_training import has_trainer
from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import COLUMNS, Estimate, means, superiority
from rwkv.model.inputs import draw_sequence
from rwkv.model.runner import Runner
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions
from rwkv.report.content import ComparisonRow, PredictedReviews, ReportContent
from rwkv.report.past_reviews import deck_names, decks_of_cards, first_day


@dataclass(frozen=True)
class PersonPredicted:
    """A person's predictions.

    Attributes:
        p: Recall of all reviews by algorithm, predicted before the answer, float [R]; NaN without a prediction.
        row: The reviews that the report shows [n]; `counted` are those that the benchmark counts.
    """

    learner: Learner
    p: Mapping[str, AnyFloats]
    row: Ints
    counted: Comparison


def feed_history(learner: Learner, runner: Runner) -> tuple[Engine, Predictions]:
    """An engine that has read all of the learner's reviews, and its prediction of each before the answer.

    The caller closes the engine.

    Raises:
        CheckpointError: Predictions are not finite. The engine is closed then.
    """
    engine = Engine(runner, draw_sequence(learner.user))
    try:
        return engine, feed_rest(engine, learner)
    except BaseException:
        engine.close()
        raise


def predict_past(learner: Learner, predictions: Predictions) -> PersonPredicted:
    """Predict the reviews that the benchmark counts, and its same-day reviews with SHORT and SECS.

    RWKV and RWKV-P predict all of them. The other algorithms work in whole days and predict no same-day reviews. FSRS-6
    is optimised only if its package is installed.
    """
    table = learner.history
    keys = benchmark_keys(table, short=False, secs=False)
    short = benchmark_keys(table, short=True, secs=True).review_ths
    same_day = short[table.elapsed_days[np.searchsorted(table.review_th, short)] == 0]
    is_predicted = np.isfinite(predictions.p_imm) & np.isfinite(predictions.p_ahead)
    row = np.flatnonzero(is_predicted & np.isin(table.review_th, np.union1d(keys.review_ths, same_day)))
    baselines: dict[str, AnyFloats] = {}
    if len(keys):
        baselines = baseline_predictions(table, keys, short=False, secs=False)
        baselines |= trained_predictions(table) if has_trainer() else {}
    p = with_baselines(table, keys, predictions, dict(reversed(baselines.items())))
    return PersonPredicted(learner, p, row, counted_reviews(table, keys, p))


# --- Several people


def with_predictions(content: ReportContent, own: PersonPredicted, people: Sequence[PersonPredicted]) -> ReportContent:
    """A person's report with the predicted reviews of all people. The report's person comes first."""
    everybody = [own, *(person for person in people if person is not own)]
    decks = [deck_names(person.learner) for person in everybody]
    reviews = joined_reviews(everybody, decks)
    return replace(content, reviews=reviews, decks_of_reviews=[*chain(*decks)], people=distinct_names(everybody), own=0)


def joined_reviews(people: Sequence[PersonPredicted], decks: Sequence[Sequence[str]]) -> PredictedReviews:
    """The reviews of one or several people in one table. decks: the deck names of each person, joined in order."""
    starts = np.cumsum([0, *map(len, decks)])
    parts = [
        _reviews(person, number, start) for number, (person, start) in enumerate(zip(people, starts, strict=False))
    ]
    has_dates = all(person.learner.info is not None for person in people)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not has_dates and len(people) > 1:  # everybody's first day is day 0
        columns["day"] = np.concatenate([part["day"] - part["day"].min(initial=0) for part in parts])
    names = max((list(person.p) for person in people), key=len)
    p = {name: np.concatenate([_predicted(person, name) for person in people]) for name in names}
    return PredictedReviews(p=p, has_dates=has_dates, **columns)


def _predicted(person: PersonPredicted, name: str) -> AnyFloats:
    """One algorithm's predictions of the person's rows; NaN without enough history."""
    return person.p[name][person.row] if name in person.p else np.full(len(person.row), np.nan)


def _reviews(person: PersonPredicted, number: int, first_deck: int) -> dict[str, np.ndarray]:
    table, row = person.learner.history, person.row
    deck = decks_of_cards(person.learner)[table.card[row]]
    return {
        "y": (table.rating[row] > 1).astype(np.int8),
        "elapsed_s": table.elapsed_s[row],
        "same_day": table.elapsed_days[row] == 0,
        "deck": np.where(deck < 0, -1, deck + first_deck).astype(np.int32),
        "person": np.full(len(row), number, np.int32),
        "day": table.day_offset[row].astype(np.int64) + first_day(person.learner),
    }


def comparison_rows(people: Sequence[PersonPredicted]) -> list[ComparisonRow]:
    """The comparison: of one person with bootstrap intervals, of several people the means weighted by reviews."""
    counted = [person.counted for person in people if len(person.counted)]
    if not counted:
        return []
    reviews = sum(map(len, counted))
    estimates = counted[0].estimates() if len(counted) == 1 else means(_scores(counted), range(len(counted))).weighted
    return [ComparisonRow(name, len(counted), reviews, _shown(metrics)) for name, metrics in estimates.items()]


def who_is_ahead(people: Sequence[PersonPredicted]) -> dict[str, dict[str, float]]:
    """Superiority by pair of algorithms; empty for one person."""
    counted = [person.counted for person in people if len(person.counted)]
    if len(counted) < 2:
        return {}
    shares = superiority(_scores(counted))
    return {a: {b: share for b, share in row.items() if share is not None} for a, row in shares.items()}


def losses_by_person(people: Sequence[PersonPredicted]) -> dict[str, dict[str, float | None]]:
    """LogLoss by name of a person and algorithm; empty for one person."""
    counted = [person for person in people if len(person.counted)]
    if len(counted) < 2:
        return {}
    return {
        name: {algorithm: score.metrics["LogLoss"] for algorithm, score in person.counted.scores().items()}
        for name, person in zip(distinct_names(counted), counted, strict=True)
    }


def distinct_names(people: Sequence[PersonPredicted]) -> list[str]:
    """The names of the people, with the user number where a name repeats."""
    names = [person.learner.name for person in people]
    numbers = [person.learner.user for person in people]
    return [f"{name} ({user})" if names.count(name) > 1 else name for name, user in zip(names, numbers, strict=True)]


def _scores(counted: Sequence[Comparison]) -> dict[str, dict[int, Score]]:
    scores: dict[str, dict[int, Score]] = {}
    for number, comparison in enumerate(counted):
        for name, score in comparison.scores().items():
            scores.setdefault(name, {})[number] = score
    return scores


def _shown(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: metrics[name] for name in COLUMNS}
