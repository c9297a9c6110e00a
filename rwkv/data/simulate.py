"""Simulated learners in the layout of anki-revlogs-10k, with their true recall probabilities; NumPy only.

A batch of learners is simulated session by session: a first round asks all cards that are due, later rounds those in
learning steps. A learner's random numbers come from a generator of its own, so that batches do not show in the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.data.simulate_learners import (
    AWAY,
    DELAY,
    DURATION,
    FUZZ,
    MAX_DECKS,
    ORDER,
    RATING,
    Learners,
    draw_learners,
)
from rwkv.data.simulate_memory import Floats, Ints, Memory
from rwkv.data.simulate_schedule import Bools, Scheduler
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

Table = dict[str, Ints]

# Large enough that NumPy's cost per call is small, small enough for about 150 MB.
_BATCH_REVIEWS = 500_000
_BATCH_USERS = 2048

# What numbers of users, and the memory for one of them, allow.
_MOST_USERS, _MOST_REVIEWS, _MOST_SEED = 2**31 - 1, 5_000_000, 2**63 - 1

# A card still in its steps after so many rounds waits for the next session.
_MAX_ROUNDS = 8

# Indexed by rating 1..4; entry 0 is never read.
_RATING_LOG_DURATION = np.array([0, 0.3, 0.4, 0, -0.35])
_DURATION_SPREAD = 0.3
_AWAY_SHARE, _AWAY_LOG = 0.004, 2.7
_CLICK_MS = 100
_LEAST_MS = 400

# Questions are planned at this share of the usual duration; the answers then take the time they take.
_NOMINAL_PACE = 0.8

# Learning steps come at 0.4 to 1.2 of their delay: learners rarely wait when nothing else is left.
_LEARN_AHEAD = 0.4

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


def simulate_users(users: int, reviews: int, seed: int, first_user: int = 1) -> Iterator[SimulatedUser]:
    """Simulate users first_user, first_user + 1, ... with log-normally many reviews, `reviews` in the mean.

    A user depends on its number, `reviews` and `seed` alone. Users whose number ends in 4 or 9 have a quirk of spec 1.
    Raises InputError where one of the numbers is out of its bounds.
    """
    for name, value, least, most in (
        ("users", users, 1, _MOST_USERS),
        ("reviews", reviews, 1, _MOST_REVIEWS),
        ("first_user", first_user, 1, _MOST_USERS),
        ("seed", seed, 0, _MOST_SEED),
    ):
        if not least <= value <= most:
            expected = f"{least} to {most}"
            raise InputError("No learner can be simulated.", where=name, got=str(value), expected=expected)
    size = min(_BATCH_USERS, max(1, _BATCH_REVIEWS // reviews))
    return _batches(np.arange(first_user, first_user + users), size, reviews, seed)


def _batches(numbers: Ints, size: int, reviews: int, seed: int) -> Iterator[SimulatedUser]:
    for start in range(0, len(numbers), size):
        learners = draw_learners(numbers[start : start + size], reviews, seed)
        study = _Study(learners)
        study.run()
        yield from _users(learners, study)


class _Study:
    """Runs the sessions of a batch of learners. Columns have a row for each wanted review, user by user.

    card is -1 in rows that were not reached; previous is the row of the card's review before, or -1.
    """

    def __init__(self, learners: Learners) -> None:
        self._learners = learners
        collection, rows = learners.collection, len(learners.noise)
        self._memory = Memory(learners.memory, collection.note, collection.difficulty)
        self._scheduler = Scheduler(learners.presets, collection.preset, collection.due_day)
        self._owner = np.repeat(np.arange(len(learners.number)), np.diff(collection.first))
        self._next_row = learners.row_first[:-1].copy()
        self._claim = np.zeros(len(self._owner), np.int64)
        self._last_row = np.full(len(self._owner), -1)
        self._last_ms = np.zeros(len(self._owner), np.int64)
        self.card = np.full(rows, -1)
        self.previous = np.full(rows, -1)
        self.time_ms, self.rating, self.state, self.duration_ms = (np.zeros(rows, np.int64) for _ in range(4))
        self.truth = np.zeros((rows, 4))

    @property
    def seen(self) -> Bools:
        """Which cards were reviewed."""
        return self._last_row >= 0

    def run(self) -> None:
        """Hold all sessions, until every user has the wanted reviews or no planned session is left."""
        sessions, last_row = self._learners.sessions, self._learners.row_first[1:]
        planned = np.diff(sessions.first)
        for index in range(planned.max()):
            here = (index < planned) & (self._next_row < last_row)
            if not here.any():
                break
            self._session(sessions.first[:-1] + np.minimum(index, planned - 1), here)

    def _session(self, session: Ints, here: Bools) -> None:
        """One session of every user who is `here`; session: which one, [users]."""
        learners, sessions, begun = self._learners, self._learners.sessions, self._next_row.copy()
        today = sessions.day[session]
        card, user, row = self._due_cards(np.where(here, today, -1))
        pace_ms = _NOMINAL_PACE * np.exp(learners.habits.pace_log_ms)[user]
        time_ms = sessions.start_ms[session][user] + ((row - begun[user]) * pace_ms).astype(np.int64)
        time_ms = np.maximum(time_ms, self._last_ms[card])
        is_click = np.zeros(len(card), bool)
        for _ in range(_MAX_ROUNDS):
            if len(card) == 0:
                break
            asked = _Asked(card, user, row, time_ms, row - begun[user], is_click)
            again, delay_ms = self._ask(asked, today[user], sessions.form[session][user])
            next_row = self._rows(user[again])
            again, row = again[next_row >= 0], next_row[next_row >= 0]
            card, user, is_click = card[again], user[again], delay_ms[again] == 0
            early_or_late = _LEARN_AHEAD + 0.8 * learners.noise[row, DELAY]
            time_ms = time_ms[again] + (delay_ms[again] * early_or_late).astype(np.int64)

    def _due_cards(self, today: Ints) -> tuple[Ints, Ints, Ints]:
        """(card, user, row) of a session's first round: what is due, one card a note, up to the limits, shuffled."""
        card = np.flatnonzero(self._scheduler.due_day <= today[self._owner])
        note = self._learners.collection.note[card]
        self._claim[note] = card
        card = card[self._claim[note] == card]
        card = card[_rank(self._owner[card]) < self._learners.habits.review_limit[self._owner[card]]]
        row = self._rows(self._owner[card])
        card, row = card[row >= 0], row[row >= 0]
        user = self._owner[card]
        return card[np.argsort(user + self._learners.noise[row, ORDER], kind="stable")], user, row

    def _rows(self, user: Ints) -> Ints:
        """The next free row for each entry of `user` (ascending), -1 once a user has all wanted reviews."""
        row = self._next_row[user] + _rank(user)
        return np.where(row < self._learners.row_first[user + 1], row, -1)

    def _ask(self, asked: "_Asked", today: Ints, form: Floats) -> tuple[Ints, Ints]:
        """Questions, answers and what follows: (entries that come again in this session, delay of each entry in ms)."""
        card, user, row, time_ms = asked.card, asked.user, asked.row, asked.time_ms
        noise = self._learners.noise[row]
        recall = self._memory.recall(card, user, time_ms, asked.position, form)
        rating_p = recall.rating_p
        rating = 1 + (noise[:, RATING, None] >= np.cumsum(rating_p[:, :3], axis=1)).sum(axis=1)

        self.card[row], self.time_ms[row], self.rating[row] = card, time_ms, rating
        self.state[row], self.truth[row] = self._scheduler.state[card], rating_p
        self.duration_ms[row] = self._durations(asked, rating, rating_p[:, 0], noise)
        self.previous[row] = self._last_row[card]
        self._last_row[card], self._last_ms[card] = row, time_ms
        self._next_row += np.bincount(user, minlength=len(self._next_row))

        self._memory.learn(card, user, time_ms, rating, recall)
        comes_again, delay_ms = self._scheduler.answer(card, rating, today, noise[:, FUZZ])
        clicked = noise[:, AWAY] > 1 - self._learners.habits.click_share[user]
        return np.flatnonzero(comes_again | clicked), np.where(clicked, 0, delay_ms)

    def _durations(self, asked: "_Asked", rating: Ints, forgotten: Floats, noise: npt.NDArray[np.float32]) -> Ints:
        """Milliseconds to answer: log-logistic, longer when unsure or tired, rarely very long, short for a click."""
        habits, user = self._learners.habits, asked.user
        spread = np.clip(noise[:, DURATION], 1e-5, 1 - 1e-5)
        log_ms = habits.pace_log_ms[user] + _DURATION_SPREAD * np.log(spread / (1 - spread))
        log_ms += _RATING_LOG_DURATION[rating] + 0.6 * forgotten + 0.1 * np.minimum(asked.position / 60, 2)
        log_ms += _AWAY_LOG * (noise[:, AWAY] < _AWAY_SHARE)
        duration_ms = np.clip(np.exp(log_ms), _LEAST_MS, habits.duration_cap_ms[user])
        return np.where(asked.is_click, _CLICK_MS, duration_ms).astype(np.int64)


@dataclass(frozen=True)
class _Asked:
    """Questions of one round, [n] each, users ascending; position: reviews done before in the session."""

    card: Ints
    user: Ints
    row: Ints
    time_ms: Ints
    position: Ints
    is_click: Bools


def _rank(user: Ints) -> Ints:
    """0, 1, 2, ... within each run of equal values of `user` [n], ascending."""
    return np.arange(len(user)) - np.searchsorted(user, user)


def _users(learners: Learners, study: _Study) -> Iterator[SimulatedUser]:
    """Put the rows of a batch in time order and cut them into users."""
    made = np.flatnonzero(study.card >= 0)
    owner = np.repeat(np.arange(len(learners.number)), np.diff(learners.row_first))[made]
    by_time = np.argsort(study.time_ms[made] + owner * _USER_SPAN_MS, kind="stable")
    row = made[by_time]
    seconds = _answer_times(study.time_ms[row], study.duration_ms[row], owner) // 1000
    day = seconds // SECONDS_PER_DAY
    place = np.empty(len(study.card), np.int64)
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
    deck_listed = collection.deck_listed[user] & (learners.quirk[user] != "no tables")
    cards = {
        "card_id": np.flatnonzero(listed) + 1,
        "note_id": collection.note[own][listed] - collection.note[first] + 1,
        "deck_id": collection.deck[own][listed] + 1,
    }
    decks = {
        "deck_id": np.arange(1, MAX_DECKS + 1)[deck_listed],
        "parent_id": collection.deck_parent[user][deck_listed],
        "preset_id": collection.deck_preset[user][deck_listed] + 1,
    }
    return cards, decks
