"""The true memory of simulated learners: noisy states of FSRS-5, with effects of note, moment and mood."""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyFloats, Bools, Floats, Ints
from rwkv.data.fsrs5 import first_state, next_difficulty, next_stability, recall_after
from rwkv.data.simulate.shapes import sigmoid
from rwkv.vocab import SECONDS_PER_DAY

DAY_MS = 1000 * SECONDS_PER_DAY

# Indexed by rating 1 to 4; 0 is a card without reviews.
_FAST_STRENGTH = np.array([0, 0.5, 0.65, 0.75, 0.85])
_SLIP = np.array([0, 0.06, 0.04, 0.01, 0.003])
_BOND_STEP = np.array([0, -0.06, 0.02, 0.05, 0.06])

_SAME_DAY = 0.4
_BOND_RANGE = (-0.4, 0.6)
_PRIMED_DAYS = 2.0
_FADE_DAYS = 10.0
_LOGIT_LIMIT = 6.0
# How much of a card's ease shows in the growth of its stability, beside that in its first stability.
_EASE_IN_GROWTH = 0.25
_EASE_IN_FIRST = 0.6
_BUTTONS_BY_EASE = 0.5
# Probabilities of the four ratings of a careless answer.
_CARELESS_SHARES = np.array([0.02, 0.01, 0.96, 0.01])


@dataclass(frozen=True)
class MemoryTraits:
    """The traits of a learner's memory, one entry per user.

    Attributes:
        fsrs: Parameters of FSRS-5 [users, 19].
        curve_power: The exponent of power-law forgetting.
        level: A term of the logit of recall.
        ease_in_recall: The logit of recall per unit of a card's ease, at any elapsed time.
        lapse_keeps: The log factor of stability after a lapse, relative to FSRS-5.
        fade: The logit of recall lost with the log of the elapsed time.
        attention: The logit of a right answer for a recalled card.
        growth_noise: The spread of the log of each gain.
        fast_days: The time constant of the short trace.
        knowledge: The logit of knowing an average new card.
        priming: The strength of a sibling's effect.
        best_hour, rhythm: The hour of best recall, and its logit.
        fatigue: The logit lost in 60 reviews of a session.
        hard, easy: Preferences for these buttons, [users, 2] before and after a change of habits.
        fails_hard: The share of failures with the answer Hard.
    """

    fsrs: Floats
    curve_power: Floats
    level: Floats
    ease_in_recall: Floats
    lapse_keeps: Floats
    fade: Floats
    attention: Floats
    growth_noise: Floats
    fast_days: Floats
    knowledge: Floats
    priming: Floats
    best_hour: Floats
    rhythm: Floats
    fatigue: Floats
    hard: Floats
    easy: Floats
    fails_hard: Floats


@dataclass(frozen=True)
class Moment:
    """The moments of n questions, [n] each.

    Attributes:
        time_ms: The time.
        position: The number of earlier reviews in the session.
        mood: The logit added to recall by trend, day, lesson and chance.
        habit: 0 before and 1 after the learner's change of habits.
        is_careless: Whether the answer does not depend on recall.
    """

    time_ms: Ints
    position: Ints
    mood: Floats
    habit: Ints
    is_careless: Bools


@dataclass(frozen=True)
class Recall:
    """The memory before answers: probabilities of the ratings rating_p [n, 4], and states for `learn`."""

    rating_p: Floats
    retrievability: Floats
    gap_days: Floats
    is_new: Bools


class Memory:
    """The memory of all cards of a batch of learners. Cards, notes and users have numbers in the batch.

    Attributes:
        note: int64 [cards].
        ease: A term of the log of stability, float64 [cards].
    """

    def __init__(self, traits: MemoryTraits, note: Ints, ease: Floats) -> None:
        cards, notes = len(note), int(note.max(initial=-1)) + 1
        self._traits = traits
        self._note = note
        self._ease = ease
        self._stability_days = np.ones(cards)
        self._difficulty = np.full(cards, 5.0)
        self._last_rating = np.zeros(cards, np.int64)
        self._last_ms = np.zeros(cards, np.int64)
        self._note_bond = np.zeros(notes)
        self._note_last_ms = np.zeros(notes, np.int64)
        self._note_last_card = np.full(notes, -1)

    def recall(self, card: Ints, user: Ints, moment: Moment) -> Recall:
        """The probabilities of the four ratings of each card [n] at its moment."""
        traits, note, ease = self._traits, self._note[card], self._ease[card]
        last_rating = self._last_rating[card]
        is_new = last_rating == 0
        gap_days = np.maximum(moment.time_ms - self._last_ms[card], 0) / DAY_MS
        stability_days = self._stability_days[card] * np.exp(self._note_bond[note])
        retrievability = recall_after(gap_days, stability_days, traits.curve_power[user])
        slow = np.where(is_new, sigmoid(traits.knowledge[user] + ease), retrievability)
        fast = _FAST_STRENGTH[last_rating] * np.exp(-gap_days / traits.fast_days[user])
        p_known = 1 - (1 - slow) * (1 - fast) * (1 - self._primed(card, user, moment.time_ms))
        p_known *= 1 - _SLIP[last_rating]

        hour = moment.time_ms % DAY_MS * (24 / DAY_MS)
        rhythm = traits.rhythm[user] * np.cos((hour - traits.best_hour[user]) * (2 * np.pi / 24))
        tired = traits.fatigue[user] * np.minimum(moment.position / 60, 2)
        fade = traits.fade[user] * np.log1p(gap_days / _FADE_DAYS)
        level = (traits.level[user] + traits.ease_in_recall[user] * ease - fade) * ~is_new
        logit = np.log(np.maximum(p_known, 1e-9) / np.maximum(1 - p_known, 1e-9)) + level
        mood = rhythm - tired + moment.mood
        recalled = sigmoid(np.clip(logit + mood, -_LOGIT_LIMIT, _LOGIT_LIMIT))
        recalled *= np.where(is_new, 1, sigmoid(traits.attention[user] + mood))
        return Recall(self._rating_p(recalled, ease, user, moment), retrievability, gap_days, is_new)

    def _primed(self, card: Ints, user: Ints, time_ms: Ints) -> Floats:
        """The effect of a recent review of a sibling."""
        note = self._note[card]
        other_card = self._note_last_card[note]
        gap_days = (time_ms - self._note_last_ms[note]) / DAY_MS
        is_primed = (other_card >= 0) & (other_card != card) & (gap_days >= 0)
        return is_primed * self._traits.priming[user] * np.exp(-np.maximum(gap_days, 0) / _PRIMED_DAYS)

    def learn(self, card: Ints, user: Ints, time_ms: Ints, rating: Ints, recall: Recall, luck: AnyFloats) -> None:
        """Update the memory after answers. No card and no note may occur twice in one call.

        Args:
            luck: Standard normal noise of the gains of stability.
        """
        traits, note, w = self._traits, self._note[card], self._traits.fsrs[user]
        before, difficulty, ease = self._stability_days[card], self._difficulty[card], self._ease[card]
        first, first_difficulty = first_state(w, rating)
        same_day = recall.gap_days < _SAME_DAY
        after = next_stability(w, before, difficulty, rating, recall.retrievability, same_day)
        noise = np.exp(traits.growth_noise[user] * luck + _EASE_IN_GROWTH * ease)
        is_later = ~recall.is_new & ~same_day
        after = np.where(is_later & (rating > 1), before + (after - before) * noise, after)
        kept = np.minimum(after * np.exp(traits.lapse_keeps[user]), before)
        after = np.where(is_later & (rating == 1), kept, after)
        after = np.where(recall.is_new, first * np.exp(_EASE_IN_FIRST * ease), after)

        self._stability_days[card] = np.clip(after, 0.01, 36_500)
        stepped = next_difficulty(w, difficulty, rating)
        self._difficulty[card] = np.where(recall.is_new, first_difficulty, stepped)
        self._last_rating[card] = rating
        self._last_ms[card] = time_ms
        self._note_bond[note] = np.clip(self._note_bond[note] + _BOND_STEP[rating], *_BOND_RANGE)
        self._note_last_ms[note] = time_ms
        self._note_last_card[note] = card

    def _rating_p(self, recalled: Floats, ease: Floats, user: Ints, moment: Moment) -> Floats:
        """The probabilities of Again, Hard, Good and Easy [n, 4]. Weak recall favours Hard, strong recall Easy."""
        traits = self._traits
        lean = np.exp(_BUTTONS_BY_EASE * np.clip(ease, -2, 2))
        hard = np.minimum(traits.hard[user, moment.habit] * (1.3 - recalled) / lean, 0.95)
        easy = np.minimum(traits.easy[user, moment.habit] * recalled**3 * lean, 1 - hard)
        called_hard = (1 - recalled) * traits.fails_hard[user]
        again, good = 1 - recalled - called_hard, recalled * (1 - hard - easy)
        shares = np.stack((again, recalled * hard + called_hard, good, recalled * easy), axis=1)
        careless = moment.is_careless[:, None]
        return np.where(careless, _CARELESS_SHARES, shares)
