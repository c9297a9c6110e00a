"""Simulated learners in the dataset's form: reviews in time order, with cards, decks and true probabilities."""

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

# Large enough to amortise NumPy's cost per call, and small enough for about 300 MB.
_BATCH_REVIEWS = 1_000_000
_BATCH_USERS = 2048

# Limits of user numbers, and of the memory for one user.
_MOST_USERS, _MOST_REVIEWS, _MOST_SEED = 2**31 - 1, 5_000_000, 2**63 - 1
_MOST_SPREAD = 2.0

# The standard deviation of the log number of reviews; about 1.4 among people.
SPREAD = 0.7

# Longer than any user's timeline in milliseconds.
_USER_SPAN_MS = 2**42


@dataclass(frozen=True)
class SimulatedUser:
    """A simulated learner: the columns of spec 1 as int64 arrays [n], in time order.

    Attributes:
        cards: card_id, note_id and deck_id; perhaps empty or incomplete.
        decks: deck_id, parent_id (-1 for none) and preset_id; perhaps empty or incomplete.
        truth: The probabilities from which each rating was drawn, float64 [n, 4].
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
    """Simulate learners. A learner depends only on its number, `reviews`, `seed` and `spread`.

    Learners whose number ends in 4 or 9 have an irregularity of spec 1.

    Args:
        users: The number of learners.
        reviews: The mean number of reviews, which is log-normal.
        seed: The seed.
        first_user: The number of the first learner.
        spread: The standard deviation of the log number of reviews.

    Raises:
        InputError: A number is out of range.
    """
    for name, value, least, most in (
        ("users", users, 1, _MOST_USERS),
        ("reviews", reviews, 1, _MOST_REVIEWS),
        ("first_user", first_user, 1, _MOST_USERS),
        ("seed", seed, 0, _MOST_SEED),
        ("spread", spread, 0, _MOST_SPREAD),
    ):
        if not least <= value <= most:
            where, expected = f"`{name}`", f"{least} to {most}"
            what, hint = "The number is out of range.", "choose a number in this range"
            raise InputError(what, where=where, got=str(value), expected=expected, hint=hint)
    size = min(_BATCH_USERS, max(1, _BATCH_REVIEWS // reviews))
    return _batches(np.arange(first_user, first_user + users), size, reviews, spread, seed)


def _batches(numbers: Ints, size: int, reviews: int, spread: float, seed: int) -> Iterator[SimulatedUser]:
    for start in range(0, len(numbers), size):
        yield from histories(draw_learners(numbers[start : start + size], reviews, spread, seed))


def histories(learners: Learners) -> Iterator[SimulatedUser]:
    """Let the learners of a batch study, and yield their histories in order."""
    study = Study(learners)
    study.run()
    yield from _users(learners, study)


def _users(learners: Learners, study: Study) -> Iterator[SimulatedUser]:
    """Sort the rows of a batch by time, and split them by user."""
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
    """The time of each answer [n], in time order: as planned, but not before the end of the previous one."""
    spent = np.cumsum(duration_ms + duration_ms // 10)
    start = np.maximum.accumulate(time_ms + owner * _USER_SPAN_MS - spent)
    return start + spent - owner * _USER_SPAN_MS


def _tables(learners: Learners, seen: Bools, user: int) -> tuple[Table, Table]:
    """The rows of one user in `cards`, for reviewed cards, and in `decks`."""
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
