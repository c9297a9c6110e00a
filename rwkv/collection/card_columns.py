"""Columns of a learner's cards that need no model, for queries and tables."""

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Floats, Ints
from rwkv.collection.card_query import Columns
from rwkv.collection.learner import Learner
from rwkv.data.collection import days_of
from rwkv.data.days import LATEST_S
from rwkv.vocab import RATINGS, SECONDS_PER_DAY

# Ids below this are not epoch milliseconds. Cards of a CSV file may have any numbers.
_FIRST_TIME_MS = 100_000_000_000


def card_columns(learner: Learner, at_s: float, retention: float | None) -> Columns:
    """Columns of cards that need no model.

    Args:
        learner: The person.
        at_s: The moment, in seconds of the learner's clock.
        retention: The desired retention of all cards; None for each card's own.

    Returns:
        Arrays [cards] by name: those of CardPredictions, and further ones for queries. tags is empty if the source has
        none, and absent in a folder of an early version. added_days, the days since the card was created, is NaN
        without dates, and if the id is not a time. rated_days_1 to rated_days_4 are the days since the last answer with
        a rating, or NaN.
    """
    cards, today = learner.cards, learner.day_of(at_s)
    desired = cards.desired_retention
    columns: dict[str, npt.NDArray[np.generic]] = {
        "card_id": cards.card_id,
        "note": cards.note,
        "deck": cards.deck,
        "preset": cards.preset,
        "elapsed_days": np.maximum(0, at_s - learner.latest_s) / SECONDS_PER_DAY,
        "due_day": cards.due_day,
        "due_in_days": cards.due_day - today,
        "anki_interval_days": cards.interval_days,
        "desired_retention": desired if retention is None else np.full_like(desired, retention),
        "is_new": cards.is_new,
        "is_suspended": cards.is_suspended,
        "added_days": today - _days_created(learner),
    }
    if not learner.lacks_tags:
        columns["tags"] = np.full(len(cards), "", object) if cards.tags is None else cards.tags
    return columns | {f"rated_days_{rating}": today - _last_day_rated(learner, rating) for rating in RATINGS}


def _last_day_rated(learner: Learner, rating: int) -> Floats:
    """The day_offset [cards] of the last answer with a rating, or NaN."""
    history = learner.history
    rows = np.flatnonzero(history.rating == rating)
    by_number = np.full(len(learner.places.note), np.nan)
    by_number[history.card[rows]] = history.day_offset[rows]
    return by_number[learner.number]


def _days_created(learner: Learner) -> Floats:
    """The day_offset [cards] on which each card was created. Anki's ids are epoch milliseconds."""
    card_id: Ints = learner.cards.card_id
    is_time = (card_id >= _FIRST_TIME_MS) & (card_id < LATEST_S * 1000)
    days = np.full(len(card_id), np.nan)
    if learner.info is not None:
        days[is_time] = days_of(learner.info, card_id[is_time] // 1000)
    return days
