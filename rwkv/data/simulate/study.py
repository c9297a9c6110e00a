"""Simulate the sessions of a batch of learners: a first round of due cards, then rounds of learning steps."""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Float32s, Floats, Ints
from rwkv.data.simulate.learners import AWAY, DELAY, DURATION, FUZZ, ORDER, RATING, Learners
from rwkv.data.simulate.memory import Memory, Moment
from rwkv.data.simulate.schedulers import FILTERED, NEVER, Answers, Scheduler

# After this many rounds, cards in their steps wait for the next session.
_MAX_ROUNDS = 8

# Indexed by rating 1 to 4; entry 0 is unused.
_RATING_LOG_DURATION = np.array([0, 0.3, 0.4, 0, -0.35])
_DURATION_SPREAD = 0.3
_AWAY_SHARE, _AWAY_LOG = 0.004, 2.7
_CLICK_MS = 100
_LEAST_MS = 400

# The planned time of a question, as a share of the usual duration.
_NOMINAL_PACE = 0.8

# Learning steps come after 0.4 to 1.2 of their delay, because learners rarely wait.
_LEARN_AHEAD = 0.4

_RESET_EVERY = 2


@dataclass(frozen=True)
class _Round:
    """The questions of a round, [n] each, by ascending user. position: earlier reviews in the session."""

    card: Ints
    user: Ints
    row: Ints
    time_ms: Ints
    position: Ints
    is_click: Bools


class Study:
    """Runs the sessions of a batch of learners. Columns have a row for each planned review, by user.

    Attributes:
        card: The card; -1 in rows that were not reached.
        previous: The row of the card's previous review, or -1.
    """

    def __init__(self, learners: Learners) -> None:
        self._learners = learners
        collection, rows = learners.collection, len(learners.noise)
        self._memory = Memory(learners.memory, collection.note, collection.ease)
        self._scheduler = Scheduler(learners.presets, learners.plans, collection.preset, collection.due_day)
        self._cards = np.diff(collection.first)
        self._owner = np.repeat(np.arange(len(learners.number)), self._cards)
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
        """Whether each card was reviewed."""
        return self._last_row >= 0

    def run(self) -> None:
        """Run all sessions, until every user has enough reviews or no planned sessions."""
        sessions, last_row = self._learners.sessions, self._learners.row_first[1:]
        planned = np.diff(sessions.first)
        for index in range(planned.max()):
            active = (index < planned) & (self._next_row < last_row)
            if not active.any():
                break
            self._session(sessions.first[:-1] + np.minimum(index, planned - 1), active)

    def _session(self, session: Ints, active: Bools) -> None:
        """Run one session of the active users. session: the session of each user [users]."""
        learners, sessions, begun = self._learners, self._learners.sessions, self._next_row.copy()
        self._reset(active & sessions.resets[session])
        card, waiting = self._due_cards(session, active)
        card, user, row = self._take(card)
        pace_ms = _NOMINAL_PACE * np.exp(learners.habits.pace_log_ms)
        time_ms = sessions.start_ms[session][user] + ((row - begun[user]) * pace_ms[user]).astype(np.int64)
        is_click = np.zeros(len(card), bool)
        for round_index in range(_MAX_ROUNDS):
            time_ms = np.maximum(time_ms, self._last_ms[card])
            questions = _Round(card, user, row, time_ms, row - begun[user], is_click)
            again, delay_ms = self._ask(questions, session)
            early_or_late = _LEARN_AHEAD + 0.8 * learners.noise[row[again], DELAY]
            time_ms = time_ms[again] + (delay_ms[again] * early_or_late).astype(np.int64)
            card, is_click = card[again], delay_ms[again] == 0
            if round_index == 0 and len(waiting):
                soon_ms = self._end_ms(session, begun, pace_ms)[self._owner[waiting]]
                card, time_ms = np.append(card, waiting), np.append(time_ms, soon_ms)
                is_click = np.append(is_click, np.zeros(len(waiting), bool))
                by_user = np.argsort(self._owner[card], kind="stable")
                card, time_ms, is_click = card[by_user], time_ms[by_user], is_click[by_user]
            free = self._rows(self._owner[card])
            card, row, time_ms, is_click = (x[free >= 0] for x in (card, free, time_ms, is_click))
            user = self._owner[card]
            if len(card) == 0:
                break

    def _end_ms(self, session: Ints, begun: Ints, pace_ms: Floats) -> Ints:
        """The end of each user's first round."""
        spent_ms = ((self._next_row - begun) * pace_ms).astype(np.int64)
        return self._learners.sessions.start_ms[session] + spent_ms

    def _reset(self, user: Bools) -> None:
        """Reset half of the reviewed cards of these users."""
        if user.any():
            card = np.flatnonzero(user[self._owner] & self.seen)
            place = card - self._learners.collection.first[self._owner[card]]
            card = card[(place % _RESET_EVERY == 0) & (self._scheduler.due_day[card] < NEVER)]
            self._scheduler.reset(card)

    def _due_cards(self, session: Ints, active: Bools) -> tuple[Ints, Ints]:
        """The due cards of a session's first round, up to the limits, and siblings that follow it, both by user."""
        learners, sessions = self._learners, self._learners.sessions
        today = np.where(active, sessions.day[session], -1)
        until = today + sessions.ahead_days[session] * active
        due_day = self._scheduler.due_day
        card = np.flatnonzero(due_day <= np.repeat(until, self._cards))
        card = card[(self._last_row[card] >= 0) | (due_day[card] <= today[self._owner[card]])]
        note = learners.collection.note[card]
        self._claim[note] = card
        is_first = self._claim[note] == card
        waiting, card = card[~is_first], card[is_first]
        card = card[_rank(self._owner[card]) < learners.habits.review_limit[self._owner[card]]]
        waiting = waiting[~learners.habits.buries[self._owner[waiting]]]
        self._claim[learners.collection.note[waiting]] = waiting
        return card, waiting[self._claim[learners.collection.note[waiting]] == waiting]

    def _take(self, card: Ints) -> tuple[Ints, Ints, Ints]:
        """Cards, users and rows in the order of the questions."""
        row = self._rows(self._owner[card])
        card, row = card[row >= 0], row[row >= 0]
        user = self._owner[card]
        order = self._learners.habits.order[user]
        due_day, deck = self._scheduler.due_day[card], self._learners.collection.deck[card]
        interval = self._scheduler.interval_days[card]
        keys = [due_day, deck, interval, -interval]
        first_key = np.select([order == kind for kind in (2, 3, 4, 5)], keys, 0)
        shuffle = np.where(order == 1, 0, self._learners.noise[row, ORDER])
        return card[np.lexsort((shuffle, first_key, user))], user, row

    def _rows(self, user: Ints) -> Ints:
        """The next free row for each entry of `user` (ascending); -1 if the user has enough reviews."""
        row = self._next_row[user] + _rank(user)
        return np.where(row < self._learners.row_first[user + 1], row, -1)

    def _ask(self, questions: _Round, session: Ints) -> tuple[Ints, Ints]:
        """Draw the answers and update all states. Returns entries that come again in this session, and delays in ms."""
        card, user, row, time_ms = questions.card, questions.user, questions.row, questions.time_ms
        learners, sessions, moods = self._learners, self._learners.sessions, self._learners.moods
        noise, today, habit = learners.noise[row], sessions.day[session][user], sessions.habit[session][user]
        mood = sessions.form[session][user] + moods.wave[row]
        mood = mood + learners.collection.deck_level[learners.collection.deck[card]]
        moment = Moment(time_ms, questions.position, mood, habit, moods.is_careless[row])
        recall = self._memory.recall(card, user, moment)
        rating_p = recall.rating_p
        rating = 1 + (noise[:, RATING, None] >= np.cumsum(rating_p[:, :3], axis=1)).sum(axis=1)

        is_early = (self._scheduler.due_day[card] > today) & ~recall.is_new
        self.card[row], self.time_ms[row], self.rating[row] = card, time_ms, rating
        self.state[row], self.truth[row] = np.where(is_early, FILTERED, self._scheduler.state[card]), rating_p
        self.duration_ms[row] = self._durations(questions, rating, rating_p[:, 0], noise)
        self.previous[row] = self._last_row[card]
        self._last_row[card], self._last_ms[card] = row, time_ms
        self._next_row += np.bincount(user, minlength=len(self._next_row))

        self._memory.learn(card, user, time_ms, rating, recall, moods.luck[row])
        answers = Answers(card, user, rating, today, habit, noise[:, FUZZ])
        comes_again, delay_ms = self._scheduler.answer(answers)
        clicked = noise[:, AWAY] > 1 - learners.habits.click_share[user]
        return np.flatnonzero(comes_again | clicked), np.where(clicked, 0, delay_ms)

    def _durations(self, questions: _Round, rating: Ints, forgotten: Floats, noise: Float32s) -> Ints:
        """Durations in ms: log-logistic, longer for weak recall and late in a session, short for a double click."""
        habits, user = self._learners.habits, questions.user
        spread = np.clip(noise[:, DURATION], 1e-5, 1 - 1e-5)
        log_ms = habits.pace_log_ms[user] + _DURATION_SPREAD * np.log(spread / (1 - spread))
        log_ms += _RATING_LOG_DURATION[rating] + 0.6 * forgotten + 0.1 * np.minimum(questions.position / 60, 2)
        log_ms += _AWAY_LOG * (noise[:, AWAY] < _AWAY_SHARE)
        duration_ms = np.clip(np.exp(log_ms), _LEAST_MS, habits.duration_cap_ms[user])
        is_careless = self._learners.moods.is_careless[questions.row]
        duration_ms = np.where(is_careless, np.maximum(duration_ms / 4, _LEAST_MS), duration_ms)
        return np.where(questions.is_click, _CLICK_MS, duration_ms).astype(np.int64)


def _rank(user: Ints) -> Ints:
    """The index 0, 1, 2, ... within each run of equal values of `user` [n], which ascends."""
    return np.arange(len(user)) - np.searchsorted(user, user)
