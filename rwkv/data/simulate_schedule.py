"""The scheduler that simulated learners use: learning steps and SM-2 intervals, with each preset's options."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEW, LEARNING, REVIEW, RELEARNING = 0, 1, 2, 3

# A day that never comes.
NEVER = 10_000_000

# Indexed by rating 1..4; entry 0 is never read.
_EASE_STEP = np.array([0, -0.2, -0.15, 0, 0.15])
_HARD_FACTOR = 1.2
_EASY_BONUS = 1.3
_FIRST_EASE = 2.5
_EASE_RANGE = (1.3, 3.0)
_LONGEST_DAYS = 3650
_LEAST_FUZZED_DAYS = 2.5
_FUZZ = 0.16
_PAST_ALL_STEPS = 50


@dataclass(frozen=True)
class Presets:
    """Deck options, one entry a preset.

    step_ms: int64 [presets, 2], delays of the learning steps. steps: how many there are. relearn_ms, relearn_steps:
    likewise after a lapse. graduating_days, easy_days: first intervals. modifier: factor of all intervals.
    lapse_factor: share of the interval kept by a lapse. leech_lapses: lapses after which a card is suspended.
    """

    step_ms: Ints
    steps: Ints
    relearn_ms: Ints
    relearn_steps: Ints
    graduating_days: Ints
    easy_days: Ints
    modifier: Floats
    lapse_factor: Floats
    leech_lapses: Ints


class Scheduler:
    """When each card of a batch of learners is due. preset, due_day (a new card's first day): int64 [cards]."""

    def __init__(self, presets: Presets, preset: Ints, due_day: Ints) -> None:
        self._presets = presets
        self._preset = preset
        self.due_day = due_day.copy()
        self.state = np.full(len(preset), NEW)
        self._step = np.zeros(len(preset), np.int64)
        self._interval_days = np.ones(len(preset))
        self._lapses = np.zeros(len(preset), np.int64)
        self._ease = np.full(len(preset), _FIRST_EASE)

    def answer(self, card: Ints, rating: Ints, today: Ints, fuzz: npt.NDArray[np.floating]) -> tuple[Bools, Ints]:
        """Schedule answered cards [n]; returns which come again in this session, and after how many milliseconds.

        today: the learner's day. fuzz: uniform in [0, 1).
        """
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

        interval = self._next_interval(card, preset, rating, today, in_review, lapsed, state == RELEARNING)
        interval = np.where(interval < _LEAST_FUZZED_DAYS, interval, interval * (1 + _FUZZ * (fuzz - 0.5)))
        interval = np.rint(interval)

        self._lapses[card] = lapses
        self._step[card] = np.where(finished, 0, step)
        self._ease[card] = np.clip(self._ease[card] + in_review * _EASE_STEP[rating], *_EASE_RANGE)
        self._interval_days[card] = interval
        self.state[card] = np.where(finished, REVIEW, np.where(relearning, RELEARNING, LEARNING))
        self.due_day[card] = np.where(is_leech, NEVER, today + finished * interval.astype(np.int64))

        learning_ms = options.step_ms[preset, np.minimum(step, 1)]
        delay_ms = np.where(relearning, options.relearn_ms[preset], learning_ms)
        return ~finished, delay_ms

    def _next_interval(
        self, card: Ints, preset: Ints, rating: Ints, today: Ints, in_review: Bools, lapsed: Bools, relearning: Bools
    ) -> Floats:
        """Days until the next review, once the steps are done: grown, shrunk by a lapse, kept, or a first interval."""
        options, before = self._presets, self._interval_days[card]
        ease = self._ease[card]
        factor = np.where(rating == 2, _HARD_FACTOR, np.where(rating == 4, ease * _EASY_BONUS, ease))
        late_days = np.maximum(today - self.due_day[card], 0)
        grown = np.maximum(before + 1, (before + late_days / 2) * factor * options.modifier[preset])
        grown = np.minimum(grown, _LONGEST_DAYS)
        shrunk = np.maximum(1, before * options.lapse_factor[preset])
        first = np.where(rating == 4, options.easy_days[preset], options.graduating_days[preset])
        in_steps = np.where(relearning, before, first)
        return np.where(lapsed, shrunk, np.where(in_review, grown, in_steps))
