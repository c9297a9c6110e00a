"""Predictions of a person's past reviews for a report: what the benchmark counts, and same-day reviews beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from rwkv.commands.compare import AHEAD, IMM
from rwkv.commands.learner import Learner
from rwkv.commands.metric_table import COLUMNS
from rwkv.data.days import local_time
from rwkv.data.history import CardTable, Int32s
from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from rwkv.data.segments import whole_history
from rwkv.evaluation.compare import Comparison, baseline_predictions, trained_predictions
from rwkv.evaluation.predict import Targets, find_targets, predict_history
from rwkv.evaluation.report_content import ComparisonRow, Floats, PredictedReviews
from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import Estimate, means, superiority
from rwkv.model.network import Network

_UNIX_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class PersonPredicted:
    """One person: the reviews of a report, and those among them that the benchmark counts."""

    learner: Learner
    reviews: PredictedReviews
    counted: Comparison


def predict_past(learner: Learner, network: Network) -> PersonPredicted | None:
    """Predict the reviews that the benchmark counts, and with SHORT and SECS its same-day reviews; None for neither.

    RWKV and RWKV-P predict them all; the others, which know whole days only, no same-day reviews. Raises
    CheckpointError where predictions are not finite, InputError where FSRS-6's package is missing.
    """
    table = learner.history
    keys = benchmark_keys(table, short=False, secs=False)
    short = benchmark_keys(table, short=True, secs=True).review_ths
    same_day = short[table.elapsed_days[np.searchsorted(table.review_th, short)] == 0]
    every = np.union1d(keys.review_ths, same_day)
    history = whole_history(table, np.isin(table.review_th, every))
    targets = find_targets(history, BenchmarkKeys(every, np.zeros(len(every), np.int32)))
    if len(targets) == 0:
        return None
    said = predict_history(network, history, targets)
    others = baseline_predictions(table, keys, short=False, secs=False) | trained_predictions(table)
    p: dict[str, Floats] = {IMM: said.p_imm, AHEAD: said.p_ahead}
    p |= {name: _placed(of, keys.review_ths, targets.review_th) for name, of in reversed(others.items())}
    return PersonPredicted(learner, _reviews(learner, targets, p), _counted(table.user, targets, p, keys))


def _placed(p: Floats, review_ths: Int32s, wanted: Int32s) -> Floats:
    """Predictions of reviews at the wanted ones, NaN where there is none."""
    placed = np.full(len(wanted), np.nan, np.float32)
    is_known = np.isin(wanted, review_ths)
    placed[is_known] = p[np.searchsorted(review_ths, wanted[is_known])]
    return placed


def _counted(user: int, targets: Targets, p: Mapping[str, Floats], keys: BenchmarkKeys) -> Comparison:
    is_key = np.isin(targets.review_th, keys.review_ths)
    review_th = targets.review_th[is_key]
    bins = keys.rmse_bins[np.searchsorted(keys.review_ths, review_th)]
    return Comparison(user, review_th, {name: of[is_key] for name, of in p.items()}, targets.y[is_key], bins)


def _reviews(learner: Learner, targets: Targets, p: Mapping[str, Floats]) -> PredictedReviews:
    table = learner.history
    row = np.searchsorted(table.review_th, targets.review_th)
    return PredictedReviews(
        y=targets.y,
        p=p,
        elapsed_s=targets.elapsed_s,
        same_day=table.elapsed_days[row] == 0,
        deck=deck_of_cards(learner)[table.card[row]],
        day=table.day_offset[row].astype(np.int64) + _first_day(learner),
        has_dates=learner.info is not None,
    )


def _first_day(learner: Learner) -> int:
    """The date of day_offset 0 in days since 1970; 0 where there are no dates."""
    if learner.info is None:
        return 0
    return local_time(learner.info.day_start_s, learner.info.timezone).toordinal() - _UNIX_EPOCH


# --- Decks


def deck_names(learner: Learner) -> list[str]:
    """Of an imported collection, in order; of a plain dataset folder, which has none, numbers."""
    if learner.info is None:
        return [f"deck {number + 1}" for number in range(_decks(learner.places))]
    return sorted(set(learner.cards.deck.tolist()))


def deck_of_cards(learner: Learner) -> Int32s:
    """By number of a card, the index of its deck's name; -1 where it is not known."""
    places = learner.places
    if learner.info is None:
        return np.where(places.deck_missing, -1, places.deck).astype(np.int32)
    decks = np.full(len(places.deck), -1, np.int32)
    decks[learner.number] = np.searchsorted(np.array(deck_names(learner), object), learner.cards.deck)
    return decks


def _decks(places: CardTable) -> int:
    known = places.deck[~places.deck_missing]
    return int(known.max()) + 1 if len(known) else 0


# --- Several people


def joined_reviews(people: Sequence[PersonPredicted]) -> tuple[PredictedReviews, list[str]]:
    """The reviews of at least one person, and the names of their decks: of several, under the person's name."""
    names: list[str] = []
    parts = []
    for person in people:
        of, own = person.reviews, deck_names(person.learner)
        parts.append(replace(of, deck=np.where(of.deck < 0, -1, of.deck + len(names)).astype(np.int32)))
        names += own if len(people) == 1 else [f"{person.learner.name}::{name}" for name in own]
    return _concatenated(parts), names


def _concatenated(parts: Sequence[PredictedReviews]) -> PredictedReviews:
    has_dates = all(part.has_dates for part in parts)
    if not has_dates:  # then everybody's first day is day 0
        parts = [replace(part, day=part.day - part.day.min()) for part in parts]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("y", "elapsed_s", "same_day", "deck", "day")
    }
    p = {name: np.concatenate([part.p[name] for part in parts]) for name in parts[0].p}
    return PredictedReviews(p=p, has_dates=has_dates, **columns)


def comparison_rows(people: Sequence[PersonPredicted]) -> list[ComparisonRow]:
    """The table: of one person with intervals by bootstrap, of several the means weighted by reviews."""
    counted = [person.counted for person in people if len(person.counted)]
    if not counted:
        return []
    reviews = sum(map(len, counted))
    found = counted[0].estimates() if len(counted) == 1 else means(_scores(counted), range(len(counted))).weighted
    return [ComparisonRow(name, len(counted), reviews, _shown(of)) for name, of in found.items()]


def who_is_ahead(people: Sequence[PersonPredicted]) -> dict[str, dict[str, float]]:
    """Superiority of each algorithm over each other, where there are several people."""
    counted = [person.counted for person in people if len(person.counted)]
    if len(counted) < 2:
        return {}
    found = superiority(_scores(counted))
    return {a: {b: share for b, share in row.items() if share is not None} for a, row in found.items()}


def _scores(counted: Sequence[Comparison]) -> dict[str, dict[int, Score]]:
    scores: dict[str, dict[int, Score]] = {}
    for number, of in enumerate(counted):
        for name, score in of.scores().items():
            scores.setdefault(name, {})[number] = score
    return scores


def _shown(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: metrics[name] for name in COLUMNS}
