"""The true memory of simulated learners: two traces per card, one per note, and what the moment adds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.vocab import SECONDS_PER_DAY

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_MS = 1000 * SECONDS_PER_DAY

# Indexed by rating 1..4, and 0 for a card without reviews.
_FIRST_STABILITY_DAYS = np.array([0, 1.3, 3.0, 6.0, 15.0])
_GROWTH = np.array([0, 0, 0.6, 1.0, 1.5])
_FAST_STRENGTH = np.array([0, 0.5, 0.65, 0.75, 0.85])
_SLIP = np.array([0, 0.12, 0.08, 0.03, 0.01])
_DIFFICULTY_STEP = np.array([0, 0.06, 0.02, -0.02, -0.08])
_BOND_STEP = np.array([0, -0.06, 0.02, 0.05, 0.06])

_LEAST_STABILITY_DAYS = 0.05
_BOND_RANGE = (-0.4, 0.6)
_PRIMED_DAYS = 2.0
_LOGIT_LIMIT = 5.0


@dataclass(frozen=True)
class MemoryTraits:
    """What sets one learner's memory apart, one float64 a user.

    curve_power: exponent of power-law forgetting. ability: log factor of stability. growth: gain per success.
    fast_days: time constant of the short trace. lapse_kept: stability kept by a lapse. knowledge: logit of knowing an
    average new card. priming: strength of a sibling's help. best_hour, rhythm: hour of best recall and its logit.
    fatigue: logit lost in 60 reviews of a session. hard, easy: how gladly these buttons are used.
    """

    curve_power: Floats
    ability: Floats
    growth: Floats
    fast_days: Floats
    lapse_kept: Floats
    knowledge: Floats
    priming: Floats
    best_hour: Floats
    rhythm: Floats
    fatigue: Floats
    hard: Floats
    easy: Floats


@dataclass(frozen=True)
class Recall:
    """State of the memory when a question is asked, one entry a review: rating_p [n, 4] and what `learn` needs."""

    rating_p: Floats
    slow: Floats
    gap_days: Floats
    is_new: npt.NDArray[np.bool_]


class Memory:
    """All cards of a batch of learners. Cards are numbered across the batch, and so are notes and users.

    note, difficulty: int64 and float64 [cards]. Times are int64 milliseconds.
    """

    def __init__(self, traits: MemoryTraits, note: Ints, difficulty: Floats) -> None:
        cards, notes = len(note), int(note.max(initial=-1)) + 1
        self._traits = traits
        self._curve_factor = 0.9 ** (-1 / traits.curve_power) - 1
        self._note = note
        self._difficulty = difficulty.copy()
        self._stability_days = np.ones(cards)
        self._last_rating = np.zeros(cards, np.int64)
        self._last_ms = np.zeros(cards, np.int64)
        self._note_bond = np.zeros(notes)
        self._note_last_ms = np.zeros(notes, np.int64)
        self._note_last_card = np.full(notes, -1)

    def recall(self, card: Ints, user: Ints, time_ms: Ints, position: Ints, form: Floats) -> Recall:
        """Probabilities of the four ratings if each card [n] is asked at its time.

        position: reviews done before in the session. form: the learner's logit of the day.
        """
        traits, note = self._traits, self._note[card]
        last_ms, last_rating, difficulty = self._last_ms[card], self._last_rating[card], self._difficulty[card]
        is_new = last_rating == 0
        gap_days = np.maximum(time_ms - last_ms, 0) / DAY_MS
        stability_days = self._stability_days[card] * np.exp(self._note_bond[note])
        slow = (1 + self._curve_factor[user] * gap_days / stability_days) ** -traits.curve_power[user]
        slow = np.where(is_new, 1 / (1 + np.exp(difficulty - traits.knowledge[user])), slow)
        fast = _FAST_STRENGTH[last_rating] * np.exp(-gap_days / traits.fast_days[user])

        other_card = self._note_last_card[note]
        note_gap_days = (time_ms - self._note_last_ms[note]) / DAY_MS
        is_primed = (other_card >= 0) & (other_card != card) & (note_gap_days >= 0)
        primed = is_primed * traits.priming[user] * np.exp(-np.maximum(note_gap_days, 0) / _PRIMED_DAYS)

        slip = _SLIP[last_rating] * np.exp(0.5 * difficulty)
        known = (1 - (1 - slow) * (1 - fast) * (1 - primed)) * (1 - np.minimum(slip, 0.3))
        hour = time_ms % DAY_MS * (24 / DAY_MS)
        rhythm = traits.rhythm[user] * np.cos((hour - traits.best_hour[user]) * (2 * np.pi / 24))
        tired = traits.fatigue[user] * np.minimum(position / 60, 2)
        logit = np.log(known / np.maximum(1 - known, 1e-9)) + rhythm - tired + form
        recalled = 1 / (1 + np.exp(-np.clip(logit, -_LOGIT_LIMIT, _LOGIT_LIMIT)))
        return Recall(self._rating_p(recalled, user), slow, gap_days, is_new)

    def learn(self, card: Ints, user: Ints, time_ms: Ints, rating: Ints, recall: Recall) -> None:
        """The answers change the memory: no card and no note may occur twice in one call."""
        traits, note = self._traits, self._note[card]
        before, difficulty = self._stability_days[card], self._difficulty[card]
        ease = np.exp(-0.5 * difficulty)
        first = _FIRST_STABILITY_DAYS[rating] * ease * np.exp(traits.ability[user])
        spacing = 0.08 + np.expm1(2.2 * (1 - recall.slow))
        grown = before * (1 + traits.growth[user] * _GROWTH[rating] * ease * spacing * before**-0.12)
        # Only what was to be remembered for a day says much about the card: a slip minutes later costs little.
        weight = np.minimum(recall.gap_days, 1)
        kept = before - weight * (before - np.minimum(before, traits.lapse_kept[user] * before**0.65))
        after = np.where(recall.is_new, first, np.where(rating == 1, kept, grown))

        self._stability_days[card] = np.maximum(after, _LEAST_STABILITY_DAYS)
        self._difficulty[card] = np.clip(difficulty + weight * _DIFFICULTY_STEP[rating], -3, 3)
        self._last_rating[card] = rating
        self._last_ms[card] = time_ms
        self._note_bond[note] = np.clip(self._note_bond[note] + _BOND_STEP[rating], *_BOND_RANGE)
        self._note_last_ms[note] = time_ms
        self._note_last_card[note] = card

    def _rating_p(self, recalled: Floats, user: Ints) -> Floats:
        """Shares of Again, Hard, Good and Easy [n, 4]: a shaky recall is Hard more often, a sure one Easy."""
        hard = self._traits.hard[user] * (1.3 - recalled)
        easy = self._traits.easy[user] * recalled**3
        return np.stack(
            (1 - recalled, recalled * hard, recalled * (1 - hard - easy), recalled * easy),
            axis=1,
        )
