"""A person's past reviews, for a report."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Int32s
from rwkv.collection.learner import Learner
from rwkv.data.days import SECONDS_PER_HOUR, local_time, utc_offsets
from rwkv.data.history import CardTable
from rwkv.report.content import PastReviews

_UNIX_EPOCH = date(1970, 1, 1).toordinal()
_HOURS = 24


def past_reviews(learner: Learner, p: Mapping[str, AnyFloats]) -> PastReviews:
    """All reviews of a learner. p: recall by algorithm, predicted before each answer, float [R]."""
    table = learner.history
    row_of_card = np.full(len(learner.places.deck), -1, np.int64)
    row_of_card[learner.number] = np.arange(len(learner.number))
    return PastReviews(
        card=row_of_card[table.card],
        deck=decks_of_cards(learner)[table.card],
        rating=table.rating,
        state=table.state,
        elapsed_days=table.elapsed_days,
        elapsed_s=table.elapsed_s,
        duration_ms=table.duration_ms,
        day=table.day_offset.astype(np.int64) + first_day(learner),
        hour=_hours(learner),
        p=p,
        has_dates=learner.info is not None,
    )


def first_day(learner: Learner) -> int:
    """The date of day_offset 0 in days since 1970; 0 without dates."""
    if learner.info is None:
        return 0
    return local_time(learner.info.day_start_s, learner.info.timezone).toordinal() - _UNIX_EPOCH


def _hours(learner: Learner) -> npt.NDArray[np.int8]:
    """The hour on the person's clock of each review [R]; -1 without recorded times."""
    if learner.info is None:
        return np.full(len(learner.history), -1, np.int8)
    epoch_s = learner.times_s.astype(np.int64)
    return ((epoch_s + utc_offsets(epoch_s, learner.info.timezone)) // SECONDS_PER_HOUR % _HOURS).astype(np.int8)


# --- Decks


def deck_names(learner: Learner) -> list[str]:
    """The names of the decks in order. A plain dataset has numbers instead of names."""
    if learner.info is None:
        return [f"deck {number + 1}" for number in range(_decks(learner.places))]
    return sorted(set(learner.cards.deck.tolist()))


def decks_of_cards(learner: Learner) -> Int32s:
    """The index of the deck's name by number of a card; -1 if unknown."""
    places = learner.places
    if learner.info is None:
        return np.where(places.deck_missing, -1, places.deck).astype(np.int32)
    decks = np.full(len(places.deck), -1, np.int32)
    decks[learner.number] = np.searchsorted(np.array(deck_names(learner), object), learner.cards.deck)
    return decks


def _decks(places: CardTable) -> int:
    decks = places.deck[~places.deck_missing]
    return int(decks.max()) + 1 if len(decks) else 0
