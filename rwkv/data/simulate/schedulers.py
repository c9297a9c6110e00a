"""The schedulers of simulated learners, which see only ratings and days: SM-2, FSRS-5 and fixed steps."""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyFloats, Bools, Floats, Ints
from rwkv.data.fsrs5 import first_state, interval_for, next_difficulty, next_stability, recall_after

NEW, LEARNING, REVIEW, RELEARNING, FILTERED = 0, 1, 2, 3, 4
SM2, FSRS, FIXED = 0, 1, 2

# A due day in the infinite future.
NEVER = 10_000_000

# Indexed by rating 1 to 4; entry 0 is unused.
_EASE_STEP = np.array([0, -0.2, -0.15, 0, 0.15])
_EASY_BONUS = 1.3
_FIRST_EASE = 2.5
_EASE_RANGE = (1.3, 3.0)
_LONGEST_DAYS = 3650
_LEAST_FUZZED_DAYS = 2.5
_FUZZ = 0.16
_PAST_ALL_STEPS = 50
_FIXED_DAYS = np.array([1, 2, 4, 7, 14, 30, 60, 120, 180, 365])


@dataclass(frozen=True)
class Presets:
    """Deck options, one entry per preset.

    Attributes:
        step_ms, steps: Delays of learning steps, int64 [presets, 2], and their number.
        relearn_ms, relearn_steps: The same after a lapse.
        graduating_days, easy_days: First intervals.
        modifier: A factor of all intervals.
        hard_factor: The factor of Hard.
        lapse_factor: The share of the interval that remains after a lapse.
        leech_lapses: The lapses after which a card is suspended.
        longest_days: The longest interval.
    """

    step_ms: Ints
    steps: Ints
    relearn_ms: Ints
    relearn_steps: Ints
    graduating_days: Ints
    easy_days: Ints
    modifier: Floats
    hard_factor: Floats
    lapse_factor: Floats
    leech_lapses: Ints
    longest_days: Ints


@dataclass(frozen=True)
class Plans:
    """The scheduler of each user, [users, 2] before and after a change of habits.

    Attributes:
        kind: SM2, FSRS or FIXED.
        retention: FSRS's desired retention.
        fsrs: FSRS's parameters [users, 19].
    """

    kind: Ints
    retention: Floats
    fsrs: Floats


@dataclass(frozen=True)
class Answers:
    """Answers of one round, [n] each: card, user, rating, today (the learner's day), habit (0 or 1), fuzz in [0, 1)."""

    card: Ints
    user: Ints
    rating: Ints
    today: Ints
    habit: Ints
    fuzz: AnyFloats


class Scheduler:
    """The due days of all cards of a batch. preset, due_day (for a new card, its introduction): int64 [cards]."""

    def __init__(self, presets: Presets, plans: Plans, preset: Ints, due_day: Ints) -> None:
        cards = len(preset)
        self._presets, self._plans = presets, plans
        self._preset = preset
        self.due_day = due_day.copy()
        self.state = np.full(cards, NEW)
        self._step = np.zeros(cards, np.int64)
        self.interval_days = np.ones(cards)
        self._lapses = np.zeros(cards, np.int64)
        self._successes = np.zeros(cards, np.int64)
        self._ease = np.full(cards, _FIRST_EASE)
        self._last_day = np.full(cards, -1)
        self._stability = np.ones(cards)
        self._difficulty = np.full(cards, 5.0)

    def reset(self, card: Ints) -> None:
        """Make cards new again, like Anki's Forget. Their due days stay."""
        self.state[card], self._step[card], self._ease[card] = NEW, 0, _FIRST_EASE
        self.interval_days[card], self._successes[card] = 1, 0

    def answer(self, answers: Answers) -> tuple[Bools, Ints]:
        """Schedule answered cards [n]. Returns a mask of those that come again in the session, and delays in ms."""
        card, rating, today = answers.card, answers.rating, answers.today
        options, preset, state = self._presets, self._preset[card], self.state[card]
        again, in_review = rating == 1, state == REVIEW
        lapsed = in_review & again
        relearning = lapsed | (state == RELEARNING)

        step = np.where(again, 0, self._step[card] + (rating == 3))
        step = np.where((rating == 4) | (in_review & ~again), _PAST_ALL_STEPS, step)
        steps = np.where(relearning, options.relearn_steps[preset], options.steps[preset])
        lapses = self._lapses[card] + lapsed
        is_leech = lapses >= options.leech_lapses[preset]
        finished = (step >= steps) | is_leech

        self._believe(answers)
        self._successes[card] = np.where(again, 0, self._successes[card] + (in_review & (rating > 2)))
        interval = self._interval(answers, preset, in_review, lapsed, state == RELEARNING)
        interval = np.minimum(np.rint(interval), options.longest_days[preset])

        self._lapses[card] = lapses
        self._step[card] = np.where(finished, 0, step)
        self._ease[card] = np.clip(self._ease[card] + in_review * _EASE_STEP[rating], *_EASE_RANGE)
        self.interval_days[card] = interval
        self.state[card] = np.where(finished, REVIEW, np.where(relearning, RELEARNING, LEARNING))
        self.due_day[card] = np.where(is_leech, NEVER, today + finished * interval.astype(np.int64))

        learning_ms = options.step_ms[preset, np.minimum(step, 1)]
        delay_ms = np.where(relearning, options.relearn_ms[preset], learning_ms)
        return ~finished, delay_ms

    def _believe(self, answers: Answers) -> None:
        """Update FSRS's states of the cards, from ratings and whole days."""
        card, rating, w = answers.card, answers.rating, self._plans.fsrs[answers.user]
        is_first = self._last_day[card] < 0
        days = np.maximum(answers.today - self._last_day[card], 0).astype(np.float64)
        stability, difficulty = self._stability[card], self._difficulty[card]
        recall = recall_after(days, stability)
        after = next_stability(w, stability, difficulty, rating, recall, days < 1)
        first, first_difficulty = first_state(w, rating)
        self._stability[card] = np.where(is_first, first, after)
        self._difficulty[card] = np.where(is_first, first_difficulty, next_difficulty(w, difficulty, rating))
        self._last_day[card] = answers.today

    def _interval(self, answers: Answers, preset: Ints, in_review: Bools, lapsed: Bools, relearning: Bools) -> Floats:
        """Days until the next review after the steps, by each learner's scheduler."""
        kind = self._plans.kind[answers.user, answers.habit]
        by_sm2 = self._sm2_interval(answers, preset, in_review, lapsed, relearning)
        retention = self._plans.retention[answers.user, answers.habit]
        by_fsrs = np.maximum(interval_for(retention, self._stability[answers.card]), 1)
        by_steps = _FIXED_DAYS[np.minimum(self._successes[answers.card], len(_FIXED_DAYS) - 1)]
        interval = np.minimum(np.select([kind == SM2, kind == FSRS], [by_sm2, by_fsrs], by_steps), _LONGEST_DAYS)
        fuzzed = interval * (1 + _FUZZ * (answers.fuzz - 0.5))
        interval = np.where(interval < _LEAST_FUZZED_DAYS, interval, fuzzed)
        return np.where(self._presets.graduating_days[preset] == NEVER, NEVER, interval)

    def _sm2_interval(
        self, answers: Answers, preset: Ints, in_review: Bools, lapsed: Bools, relearning: Bools
    ) -> Floats:
        """SM-2's interval: grown, reduced by a lapse, unchanged, or a first one."""
        options, before, rating = self._presets, self.interval_days[answers.card], answers.rating
        ease = self._ease[answers.card]
        hard = options.hard_factor[preset]
        factor = np.where(rating == 2, hard, np.where(rating == 4, ease * _EASY_BONUS, ease))
        late_days = np.maximum(answers.today - self.due_day[answers.card], 0)
        grown = np.maximum(before + 1, (before + late_days / 2) * factor * options.modifier[preset])
        shrunk = np.maximum(1, before * options.lapse_factor[preset])
        first = np.where(rating == 4, options.easy_days[preset], options.graduating_days[preset])
        return np.where(lapsed, shrunk, np.where(in_review, grown, np.where(relearning, before, first)))
