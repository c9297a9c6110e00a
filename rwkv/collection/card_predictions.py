"""Predictions for every card of a person at a moment: recall, ratings and intervals."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Float32s, Floats, Ints
from rwkv.collection.card_columns import card_columns
from rwkv.collection.card_query import EVERYTHING, Query
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, median_answer_ms, questions_at, read_learner
from rwkv.data.collection import Texts
from rwkv.errors import InputError
from rwkv.model.recall import recall
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import LEAST_S, checked_retention, intervals
from rwkv.recurrent.predictions import Outlook, Predictions
from rwkv.runtime import progress
from rwkv.vocab import RATINGS, SECONDS_PER_DAY

Columns = dict[str, npt.NDArray[Any]]

# Cards of one batch; limits the memory.
_TOGETHER = 4096
# The longest allowed shortest interval; within the horizon of the curves.
MOST_DAYS = 3650

# The model is doubted if more than this share of at least this many cards have only the shortest interval.
_DOUBTFUL, _FEWEST_FOR_DOUBT = 0.5, 10
# Above this retention, a day is a short interval even for well-known cards.
_HIGH_RETENTION = 0.95
# The relative rounding error of converting seconds to days and back.
_ROUNDING = 1e-9

_BUTTONS = ("again", "hard", "good", "easy")
_MODEL_COLUMNS = (
    "p_now",
    "p_curve",
    *(f"p_{name}" for name in _BUTTONS),
    "interval_days",
    *(f"days_{name}" for name in _BUTTONS),
)


@dataclass(frozen=True)
class Wish:
    """The desired intervals.

    Attributes:
        retention: The desired retention float64 [n] of each card.
        least_days: The shortest interval in days.

    Raises:
        InputError: A value is out of range.
    """

    retention: Floats
    least_days: float

    def __post_init__(self) -> None:
        """Check the values."""
        checked_retention(self.retention, "`retention`")
        if not 0 <= self.least_days < MOST_DAYS:
            got, expected = repr(self.least_days), f"0 to less than {MOST_DAYS} days"
            hint = "use 1 as in Anki, or 0 for intervals within a day"
            raise InputError(
                "The shortest interval is out of range.", where="`least_days`", got=got, expected=expected, hint=hint
            )

    def part(self, chosen: slice | Bools) -> "Wish":
        """The wish for some of the cards."""
        return Wish(self.retention[chosen], self.least_days)

    def intervals(self, curves: Float32s) -> Floats:
        """Intervals until recall falls to the desired retention.

        Args:
            curves: The curve head's outputs [N, outputs], with equally many rows for each card.

        Returns:
            Seconds float64 [N]; infinite beyond the curves' horizon.
        """
        retention = np.repeat(self.retention, len(curves) // max(1, len(self.retention)))
        least_s = max(LEAST_S, self.least_days * SECONDS_PER_DAY)
        seconds = intervals(curves, retention, least_s)
        return np.where(np.isnan(seconds), np.inf, seconds)


@dataclass(frozen=True)
class CardPredictions:
    """Predictions of n cards, in columns [n]. Days are multiples of 86,400 seconds.

    p_curve, elapsed_days, interval_days and left_days are NaN for a card without reviews. An interval beyond the
    curve's 41.8 years is infinite.

    Attributes:
        card_id, note, deck, preset: From the collection. A plain dataset has no names.
        p_now: Recall by RWKV-P in a review now, 1 - p_again except for clipping.
        p_again, p_hard, p_good, p_easy: Probabilities of the ratings by RWKV-P.
        p_curve: Recall by the forgetting curve of the latest review.
        elapsed_days: Time since the latest review.
        interval_days: Time from the latest review until the curve falls to the desired retention.
        days_again, days_hard, days_good, days_easy: Intervals after each rating, in ascending order.
        due_day: Anki's due day as a day_offset, or NaN.
        due_in_days: Days until Anki's due day, or NaN.
        left_days: Time until the curve falls to the desired retention.
    """

    card_id: Ints
    note: Texts
    deck: Texts
    preset: Texts
    p_now: Floats
    p_curve: Floats
    p_again: Floats
    p_hard: Floats
    p_good: Floats
    p_easy: Floats
    elapsed_days: Floats
    interval_days: Floats
    left_days: Floats
    days_again: Floats
    days_hard: Floats
    days_good: Floats
    days_easy: Floats
    due_day: Floats
    due_in_days: Floats
    anki_interval_days: Ints
    desired_retention: Floats
    is_new: Bools
    is_suspended: Bools

    def __len__(self) -> int:
        return len(self.card_id)

    @property
    def columns(self) -> Columns:
        """The columns by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, chosen: Ints | Bools) -> "CardPredictions":
        """Some of the cards. chosen: a mask [n], or rows in any order."""
        return CardPredictions(**{name: column[chosen] for name, column in self.columns.items()})

    def least_likely_first(self) -> "CardPredictions":
        """The cards by ascending p_now."""
        return self.rows(np.argsort(self.p_now, kind="stable"))


def predict_collection(
    root: Path,
    user: int,
    model: ChosenModel,
    at_s: float | None = None,
    query: Query = EVERYTHING,
    retention: float | None = None,
    least_days: float = 1.0,
    states_bytes: int | None = None,
) -> CardPredictions:
    """Predict the cards that match a query, in the order of the collection.

    The only file written is the engine's states beside an imported collection; see `fed_engine`.

    Args:
        root: A folder written by `rwkv import`, or a dataset.
        user: The user number.
        model: The model.
        at_s: The moment, in seconds of the learner's clock, not before the last review; None for now.
        query: The query; see `parse_query`.
        retention: The desired retention of all cards; None for each card's own.
        least_days: The shortest interval in days.
        states_bytes: The largest size of the states' file; see `fed_engine`.

    Raises:
        HistoryError: The history cannot be used.
        InputError: An argument is wrong.
        CheckpointError: The file of weights cannot be used.
    """
    learner = read_learner(root, user)
    at_s = learner.now_s() if at_s is None else at_s
    return predict_learner(learner, model, at_s, query, retention, least_days, states_bytes)[0]


def predict_learner(
    learner: Learner,
    model: ChosenModel,
    at_s: float,
    query: Query = EVERYTHING,
    retention: float | None = None,
    least_days: float = 1.0,
    states_bytes: int | None = None,
) -> tuple[CardPredictions, Predictions | None]:
    """Like `predict_collection`, for a learner in memory. Also returns the predictions of `fed_engine`."""
    recorded = card_columns(learner, at_s, retention)
    rows = np.arange(len(learner.cards)) if query.asks_model else np.flatnonzero(query.matches(recorded))
    wish = Wish(recorded["desired_retention"][rows], least_days)
    engine, past = fed_engine(learner, model, states_bytes)
    try:
        predicted = _predict(engine, learner, rows, at_s, wish)
    finally:
        engine.close()
    columns = {name: column[rows] for name, column in recorded.items()} | predicted
    columns["left_days"] = columns["interval_days"] - columns["elapsed_days"]
    predictions = CardPredictions(**{field.name: columns[field.name] for field in fields(CardPredictions)})
    return predictions.rows(query.matches(columns)) if query.asks_model else predictions, past


def doubt_of(cards: CardPredictions, least_days: float) -> str | None:
    """A warning if most cards have the shortest interval after every rating, also Easy; else None."""
    buttons = np.stack([cards.columns[f"days_{name}"] for name in _BUTTONS])
    floor_days = max(least_days, LEAST_S / SECONDS_PER_DAY)
    at_floor = buttons <= floor_days * (1 + _ROUNDING)
    if len(cards) < _FEWEST_FOR_DOUBT or at_floor.all(0).mean() <= _DOUBTFUL:
        return None
    verdict = unknown_person(cards.desired_retention)
    share = f"{at_floor.mean():.0%} of your intervals"
    return f"{share} are the shortest possible, {floor_days:.3g} d, even after Easy: {verdict}"


def unknown_person(retention: Floats) -> str:
    """The explanation for very short intervals of cards with these desired retentions [n]."""
    median = float(np.median(retention))
    alternative = f", or a desired retention of {median:.0%} is too high" if median > _HIGH_RETENTION else ""
    return f"this model does not fit your reviews{alternative}"


def _predict(engine: Engine, learner: Learner, rows: Ints, at_s: float, wish: Wish) -> Columns:
    """The model's columns [n] of the cards `rows` [n]."""
    elapsed_s = np.maximum(0, at_s - learner.latest_s[rows])
    answer_ms = median_answer_ms(learner.history)
    columns: Columns = {name: np.full(len(rows), np.nan) for name in _MODEL_COLUMNS}
    with progress((), len(rows), "predictions", "card") as bar:
        for start in range(0, len(rows), _TOGETHER):
            done = start
            for part in engine.outlook(questions_at(learner, rows[start : start + _TOGETHER], at_s), answer_ms):
                span = slice(done, done + len(part.p_imm))
                for name, values in _columns(part, elapsed_s[span], wish.part(span)).items():
                    columns[name][span] = values
                done = span.stop
                bar.update(len(part.p_imm))
    return columns


def _columns(part: Outlook, elapsed_s: Floats, wish: Wish) -> Columns:
    count, is_reviewed = len(part.p_imm), ~np.isnan(elapsed_s)
    curves = part.curve[is_reviewed]
    p_curve, interval_s = np.full(count, np.nan), np.full(count, np.nan)
    if is_reviewed.any():
        p_curve[is_reviewed] = recall(curves, elapsed_s[is_reviewed])
        interval_s[is_reviewed] = wish.part(is_reviewed).intervals(curves)
    after_s = wish.intervals(part.after.reshape(count * len(RATINGS), -1)).reshape(count, len(RATINGS))
    in_order_s = np.maximum.accumulate(after_s, axis=1)
    values = [part.p_imm, p_curve, *part.p_all.T, interval_s / SECONDS_PER_DAY, *(in_order_s.T / SECONDS_PER_DAY)]
    return dict(zip(_MODEL_COLUMNS, values, strict=True))
