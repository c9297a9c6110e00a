"""Predictions of a person's cards by RWKV, RWKV-P and FSRS-6, for a report."""

import numpy as np

from rwkv.arrays import Floats, Ints
from rwkv.collection.learner import Learner, questions_at
from rwkv.evaluation.comparison import days_since_first, fsrs_parameters
from rwkv.evaluation.fsrs6 import DEFAULT_PARAMETERS, interval_by_stability, recall_by_stability, stabilities
from rwkv.evaluation.fsrs_training import has_trainer
from rwkv.model.recall import recall, recall_at
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import intervals
from rwkv.report.content import CURVE_TIMES_S, NEW, NO_HISTORY, REVIEWED, CardsNow
from rwkv.report.past_reviews import decks_of_cards
from rwkv.runtime import progress
from rwkv.vocab import SECONDS_PER_DAY

_TOGETHER = 1024


def cards_now(engine: Engine, learner: Learner, at_s: float) -> CardsNow:
    """Predict all existing cards.

    Args:
        engine: An engine that has read the learner's history.
        learner: The person.
        at_s: The moment, in seconds of the learner's clock.

    Raises:
        CheckpointError: Predictions are not finite.
    """
    cards, count = learner.cards, len(learner.cards)
    p_now, p_asked, interval_days = (np.full(count, np.nan) for _ in range(3))
    curves = np.full((count, len(CURVE_TIMES_S)), np.nan)
    elapsed_s = np.maximum(0, at_s - learner.latest_s)
    is_reviewed = learner.is_reviewed & ~cards.is_new
    rows = np.flatnonzero(is_reviewed)
    with progress((), len(rows), "cards", "card") as bar:
        for start in range(0, len(rows), _TOGETHER):
            part = rows[start : start + _TOGETHER]
            outputs = np.concatenate([engine.curve(number).outputs for number in learner.number[part].tolist()])
            p_now[part] = recall(outputs, elapsed_s[part])
            p_asked[part] = engine.predict_many(questions_at(learner, part, at_s)).p_imm
            curves[part] = recall_at(outputs, CURVE_TIMES_S)
            interval_days[part] = intervals(outputs, cards.desired_retention[part], SECONDS_PER_DAY) / SECONDS_PER_DAY
            bar.update(len(part))
    interval_days[rows] = np.where(np.isnan(interval_days[rows]), np.inf, interval_days[rows])
    p_fsrs, fsrs_days = np.full(count, np.nan), np.full(count, np.nan)
    if len(rows):
        p_fsrs[rows], fsrs_days[rows] = _fsrs(learner, rows, at_s)
    return CardsNow(
        card_id=cards.card_id,
        note=cards.note.tolist(),
        deck=decks_of_cards(learner)[learner.number],
        kind=np.where(is_reviewed, REVIEWED, np.where(cards.is_new, NEW, NO_HISTORY)).astype(np.uint8),
        suspended=cards.is_suspended,
        p_now=p_now,
        p_asked=p_asked,
        p_fsrs=p_fsrs,
        elapsed_s=np.where(is_reviewed, elapsed_s, np.nan),
        curves=curves,
        retention=cards.desired_retention,
        interval_days=interval_days,
        fsrs_days=fsrs_days,
        anki_days=np.where(cards.interval_days > 0, cards.interval_days, np.nan),
        anki_due=cards.due_day - learner.day_of(at_s),
    )


def _fsrs(learner: Learner, rows: Ints, at_s: float) -> tuple[Floats, Floats]:
    """Recall now and the interval in days [rows] by FSRS-6 for the reviewed cards `rows`.

    The parameters are optimised on all of the learner's reviews if that package is installed, else the default ones.
    """
    table, number = learner.history, learner.number[rows]
    parameters = fsrs_parameters(table) if has_trainer() else DEFAULT_PARAMETERS
    latest = np.empty(learner.reviewed, np.float64)
    latest[table.card] = stabilities(table.card, table.rating, days_since_first(table), parameters)  # the last remains
    since_days = np.maximum(0, learner.day_of(at_s) - learner.latest_day[rows]).astype(np.int64)
    p = recall_by_stability(latest[number], since_days, parameters)
    return p, interval_by_stability(latest[number], learner.cards.desired_retention[rows], parameters)
