"""Simulated learners as the dataset has them: reviews in time order, with cards, decks and the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.simulate.collection import NO_PARENT
from rwkv.data.simulate.learners import Learners, draw_learners
from rwkv.data.simulate.study import Study
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

Table = dict[str, Ints]

# Large enough that NumPy's cost per call is small, small enough for some 300 MB.
_BATCH_REVIEWS = 1_000_000
_BATCH_USERS = 2048

# What numbers of users, and the memory for one of them, allow.
_MOST_USERS, _MOST_REVIEWS, _MOST_SEED = 2**31 - 1, 5_000_000, 2**63 - 1
_MOST_SPREAD = 2.0

# Of the log of learners' numbers of reviews. People have about 1.4.
SPREAD = 0.7

# More than any user's whole timeline in milliseconds.
_USER_SPAN_MS = 2**42


@dataclass(frozen=True)
class SimulatedUser:
    """One simulated learner: the columns of spec 1 as int64 arrays [n], rows in time order.

    cards: card_id, note_id, deck_id. decks: deck_id, parent_id (-1 none), preset_id. Either may be empty or lack rows.
    truth: float64 [n, 4], the probabilities from which each rating was drawn.
    """

    user: int
    card_id: Ints
    day_offset: Ints
    rating: Ints
    state: Ints
    duration: Ints
    elapsed_days: Ints
    elapsed_seconds: Ints
    cards: Table
    decks: Table
    truth: Floats


def simulate_users(
    users: int, reviews: int, seed: int, first_user: int = 1, spread: float = SPREAD
) -> Iterator[SimulatedUser]:
    """Simulate users first_user, first_user + 1, ... with log-normally many reviews, `reviews` in the mean.

    spread: of the log of these numbers. A user depends on its own number, `reviews`, `seed` and `spread` alone. Users
    whose number ends in 4 or 9 have a quirk of spec 1. Raises InputError where one of the numbers is out of its bounds.
    """
    for name, value, least, most in (
        ("users", users, 1, _MOST_USERS),
        ("reviews", reviews, 1, _MOST_REVIEWS),
        ("first_user", first_user, 1, _MOST_USERS),
        ("seed", seed, 0, _MOST_SEED),
        ("spread", spread, 0, _MOST_SPREAD),
    ):
        if not least <= value <= most:
            expected = f"{least} to {most}"
            raise InputError("No learner can be simulated.", where=name, got=str(value), expected=expected)
    size = min(_BATCH_USERS, max(1, _BATCH_REVIEWS // reviews))
    return _batches(np.arange(first_user, first_user + users), size, reviews, spread, seed)


def _batches(numbers: Ints, size: int, reviews: int, spread: float, seed: int) -> Iterator[SimulatedUser]:
    for start in range(0, len(numbers), size):
        learners = draw_learners(numbers[start : start + size], reviews, spread, seed)
        study = Study(learners)
        study.run()
        yield from _users(learners, study)


def _users(learners: Learners, study: Study) -> Iterator[SimulatedUser]:
    """Put the rows of a batch in time order and cut them into users."""
    made = np.flatnonzero(study.card >= 0)
    owner = np.repeat(np.arange(len(learners.number)), np.diff(learners.row_first))[made]
    by_time = np.argsort(study.time_ms[made] + owner * _USER_SPAN_MS, kind="stable")
    row = made[by_time]
    seconds = _answer_times(study.time_ms[row], study.duration_ms[row], owner) // 1000
    day = seconds // SECONDS_PER_DAY
    place = np.zeros(len(study.card), np.int64)
    place[row] = np.arange(len(row))
    previous = study.previous[row]
    before, is_first = place[previous], previous < 0
    columns = {
        "card_id": study.card[row] - learners.collection.first[owner] + 1,
        "day_offset": day,
        "rating": study.rating[row],
        "state": study.state[row],
        "duration": study.duration_ms[row],
        "elapsed_days": np.where(is_first, -1, day - day[before]),
        "elapsed_seconds": np.where(is_first, -1, seconds - seconds[before]),
    }
    truth = study.truth[row]
    first = np.searchsorted(owner, np.arange(len(learners.number) + 1))
    for user, number in enumerate(learners.number):
        rows = slice(first[user], first[user + 1])
        cards, decks = _tables(learners, study.seen, user)
        own = {name: column[rows] for name, column in columns.items()}
        yield SimulatedUser(user=int(number), **own, cards=cards, decks=decks, truth=truth[rows])


def _answer_times(time_ms: Ints, duration_ms: Ints, owner: Ints) -> Ints:
    """When each answer is given [n], rows in time order: as planned, but no sooner than the one before has ended."""
    spent = np.cumsum(duration_ms + duration_ms // 10)
    start = np.maximum.accumulate(time_ms + owner * _USER_SPAN_MS - spent)
    return start + spent - owner * _USER_SPAN_MS


def _tables(learners: Learners, seen: Bools, user: int) -> tuple[Table, Table]:
    """The rows of one user in `cards` (those it has seen) and `decks`."""
    collection, first = learners.collection, learners.collection.first[user]
    own = slice(first, collection.first[user + 1])
    listed = collection.listed[own] & seen[own] & (learners.quirk[user] != "no tables")
    own_decks = slice(collection.deck_first[user], collection.deck_first[user + 1])
    deck_listed = collection.deck_listed[own_decks] & (learners.quirk[user] != "no tables")
    parent = collection.deck_parent[own_decks][deck_listed]
    cards = {
        "card_id": np.flatnonzero(listed) + 1,
        "note_id": collection.note[own][listed] - collection.note[first] + 1,
        "deck_id": collection.deck[own][listed] - own_decks.start + 1,
    }
    decks = {
        "deck_id": np.flatnonzero(deck_listed) + 1,
        "parent_id": np.where(parent < 0, NO_PARENT, parent + 1),
        "preset_id": collection.deck_preset[own_decks][deck_listed] + 1,
    }
    return cards, decks
