"""What the model says of every card of a person at a moment: recall, ratings, intervals."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.arrays import Bools, Floats, Ints
from rwkv.collection.card_columns import card_columns
from rwkv.collection.card_query import EVERYTHING, Query
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import Learner, median_answer_ms, questions_at, read_learner
from rwkv.data.collection import Texts
from rwkv.errors import InputError
from rwkv.model.curve import recall
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.intervals import LEAST_S, checked_retention, intervals
from rwkv.recurrent.predictions import Outlook, Predictions
from rwkv.runtime import progress
from rwkv.vocab import RATINGS, SECONDS_PER_DAY

Columns = dict[str, npt.NDArray[Any]]

# Cards that are asked about together, so that a million need no more memory than these.
_TOGETHER = 4096
# Of the shortest interval; within the horizon of the curves.
MOST_DAYS = 3650

# Above this share of cards with nothing but the shortest interval, of at least so many, the model is doubted.
_DOUBTFUL, _FEWEST_FOR_DOUBT = 0.5, 10
# Above it one day is short also for those who know a card well.
_HIGH_RETENTION = 0.95
# Of seconds to days and back.
_ROUNDING = 1e-9

_BUTTONS = ("again", "hard", "good", "easy")
_SAID = (
    "p_now",
    "p_curve",
    *(f"p_{name}" for name in _BUTTONS),
    "interval_days",
    *(f"days_{name}" for name in _BUTTONS),
)


@dataclass(frozen=True)
class Wish:
    """What intervals are to be like. retention [n]: desired of cards. least_days: no interval is shorter."""

    retention: Floats
    least_days: float

    def __post_init__(self) -> None:
        """Raises InputError for what nobody can wish."""
        checked_retention(self.retention)
        if not 0 <= self.least_days < MOST_DAYS:
            got, expected = repr(self.least_days), f"0 to less than {MOST_DAYS} days"
            hint = "1 is as in Anki, 0 looks within the day too"
            raise InputError(
                "This is no shortest interval.", where="--least-days", got=got, expected=expected, hint=hint
            )

    def of(self, chosen: slice | Bools) -> "Wish":
        """Of some of the cards."""
        return Wish(self.retention[chosen], self.least_days)

    def intervals(self, curves: Tensor) -> Floats:
        """Seconds [N] until curves [N, 260], as many of each card, fall so far; infinite beyond their horizon."""
        retention = np.repeat(self.retention, len(curves) // max(1, len(self.retention)))
        least_s = max(LEAST_S, self.least_days * SECONDS_PER_DAY)
        seconds = intervals(curves, retention, least_s)
        return np.where(np.isnan(seconds), np.inf, seconds)


@dataclass(frozen=True)
class CardPredictions:
    """What is known and said of n cards. All columns [n]; days are fractions of 86,400 seconds.

    card_id, note, deck, preset: as in the collection; a plain dataset folder has no names.
    p_now: recall by RWKV-P if the card were asked now, 1 - p_again but for its clipping. p_again to p_easy: of the four
    ratings, by RWKV-P. p_curve: recall by the forgetting curve since the latest review.
    elapsed_days: since then. interval_days: from then until the curve first falls to the desired retention.
    days_again to days_easy: the intervals after each button, none shorter than one before it.
    due_day: Anki's, as a day_offset. due_in_days: from now, by Anki. left_days: from now, by the curve.
    NaN: p_curve, elapsed_days, interval_days and left_days of a card that was never reviewed, and days that are not
    set. Infinite: an interval beyond the curve's 41.8 years.
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
        """By name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, chosen: Ints | Bools) -> "CardPredictions":
        """Some of the cards: a mask [n], or rows in any order."""
        return CardPredictions(**{name: column[chosen] for name, column in self.columns.items()})

    def least_likely_first(self) -> "CardPredictions":
        """The cards in order of p_now."""
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
    """Predict all cards that a query chooses, in the order of the collection.

    at_s: when, as the learner's times count, None for now; not before the last review. retention: desired of all cards;
    None for each card's own. least_days: no interval is shorter. Writes nothing but the engine's states beside an
    imported collection, at most states_bytes (see `fed_engine`). Raises HistoryError, InputError, CheckpointError.
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
    """The same of a learner who was read already, and the predictions of the past reviews, see `fed_engine`."""
    known = card_columns(learner, at_s, retention)
    rows = np.arange(len(learner.cards)) if query.asks_model else np.flatnonzero(query.matches(known))
    wish = Wish(known["desired_retention"][rows], least_days)
    engine, past = fed_engine(learner, model, states_bytes)
    try:
        said = _said(engine, learner, rows, at_s, wish)
    finally:
        engine.close()
    columns = {name: column[rows] for name, column in known.items()} | said
    columns["left_days"] = columns["interval_days"] - columns["elapsed_days"]
    predictions = CardPredictions(**{field.name: columns[field.name] for field in fields(CardPredictions)})
    return predictions.rows(query.matches(columns)) if query.asks_model else predictions, past


def doubt_of(cards: CardPredictions, least_days: float) -> str | None:
    """What must be said where most cards have the shortest interval after every button, also Easy; None otherwise."""
    buttons = np.stack([cards.columns[f"days_{name}"] for name in _BUTTONS])
    floor_days = max(least_days, LEAST_S / SECONDS_PER_DAY)
    at_floor = buttons <= floor_days * (1 + _ROUNDING)
    if len(cards) < _FEWEST_FOR_DOUBT or at_floor.all(0).mean() <= _DOUBTFUL:
        return None
    verdict = unknown_person(cards.desired_retention)
    return f"{at_floor.mean():.0%} of your intervals are at the floor of {floor_days:.3g} d, also after Easy: {verdict}"


def unknown_person(retention: Floats) -> str:
    """What follows from cards that come back at once, of their desired retention [n]."""
    wanted = float(np.median(retention))
    but = f", or a desired retention of {wanted:.0%} is too much to ask" if wanted > _HIGH_RETENTION else ""
    return f"this model does not know you{but}"


def _said(engine: Engine, learner: Learner, rows: Ints, at_s: float, wish: Wish) -> Columns:
    """The columns that the model gives, of cards `rows` [n]."""
    elapsed_s = np.maximum(0, at_s - learner.latest_s[rows])
    answer_ms = median_answer_ms(learner.history)
    said: Columns = {name: np.full(len(rows), np.nan) for name in _SAID}
    with progress((), len(rows), "predictions", "card") as bar:
        for start in range(0, len(rows), _TOGETHER):
            done = start
            for part in engine.outlook(questions_at(learner, rows[start : start + _TOGETHER], at_s), answer_ms):
                here = slice(done, done + len(part.p_imm))
                for name, values in _columns(part, elapsed_s[here], wish.of(here)).items():
                    said[name][here] = values
                done = here.stop
                bar.update(len(part.p_imm))
    return said


def _columns(part: Outlook, elapsed_s: Floats, wish: Wish) -> Columns:
    count, is_known = len(part.p_imm), ~np.isnan(elapsed_s)
    curves = part.curve[torch.from_numpy(is_known)]
    p_curve, interval_s = np.full(count, np.nan), np.full(count, np.nan)
    if is_known.any():
        p_curve[is_known] = recall(curves, torch.from_numpy(elapsed_s[is_known])).numpy()
        interval_s[is_known] = wish.of(is_known).intervals(curves)
    after_s = wish.intervals(part.after.flatten(0, 1)).reshape(count, len(RATINGS))
    in_order_s = np.maximum.accumulate(after_s, axis=1)
    values = [part.p_imm, p_curve, *part.p_all.T, interval_s / SECONDS_PER_DAY, *(in_order_s.T / SECONDS_PER_DAY)]
    return dict(zip(_SAID, values, strict=True))
