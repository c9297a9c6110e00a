"""The scheduling of simulated learners: deck options, schedulers and their parameters."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Floats
from rwkv.data.fsrs5 import DEFAULT
from rwkv.data.simulate.collection import CRAM_PRESET, MAX_PRESETS
from rwkv.data.simulate.population import Person
from rwkv.data.simulate.schedulers import FIXED, FSRS, NEVER, SM2, Plans, Presets
from rwkv.data.simulate.shapes import sigmoid

_CRAM_STEPS = 1_000_000


def draw_plans(trait: Iterator[Floats], person: Person) -> Plans:
    """Draw schedulers: SM-2 for two thirds of the users, else FSRS or fixed steps. A change of habits may bring FSRS.

    FSRS has default parameters, parameters near the learner's own, or wrong ones.
    """
    first, second = next(trait), next(trait)
    begun = np.where(first < 0.4, SM2, np.where(first < 1.5, FSRS, FIXED))
    kind = np.stack((begun, np.where(second > 0, FSRS, begun)), axis=1)
    aim = 0.9 + 0.03 * next(trait)
    retention = np.stack((aim, aim + 0.04 * next(trait)), axis=1)
    fit = next(trait)
    error = np.where(fit[:, None] < 0.8, 0.15, 0.8) * np.stack([next(trait) for _ in range(4)], axis=1)
    own = person.fsrs.copy()
    own[:, :4] *= np.exp(error[:, :1])
    own[:, 8] *= np.exp(0.3 * error[:, 1])
    own[:, 10] *= np.exp(0.3 * error[:, 2])
    own[:, 11] *= np.exp(0.3 * error[:, 3])
    return Plans(
        kind=kind,
        retention=np.clip(retention, 0.7, 0.97),
        fsrs=np.where((fit < -0.4)[:, None], DEFAULT, own),
    )


def draw_presets(trait: Iterator[Floats], person: Person, quirk: npt.NDArray[np.str_]) -> Presets:
    """Draw the options of MAX_PRESETS presets for each user. A cramming preset has endless learning steps."""
    base = np.stack([next(trait) for _ in range(5)])
    shift = 0.5 * (np.arange(MAX_PRESETS) - 1)
    steps, delay, interval, lapse, longest = (base[:, :, None] + shift).reshape(5, -1)
    lenient = np.repeat(person.retention_z, MAX_PRESETS)
    crams = np.tile(np.arange(MAX_PRESETS) == CRAM_PRESET, len(quirk))
    once = np.repeat(quirk == "nothing twice", MAX_PRESETS)
    step_ms = 1000 * np.stack((np.where(delay > 1.2, 300, 60), np.where(delay > 0.5, 900, 600)), axis=1)
    learning_steps = np.where(crams, _CRAM_STEPS, np.where(steps > 1.3, 0, np.where(steps < -1, 1, 2)))
    return Presets(
        step_ms=step_ms.astype(np.int64),
        steps=np.where(once, 0, learning_steps),
        relearn_ms=step_ms[:, 1].astype(np.int64),
        relearn_steps=np.where(delay < -1.1, 0, 1),
        graduating_days=np.where(once, NEVER, np.where(interval > 1, 3, 1)),
        easy_days=np.where(once, NEVER, 4),
        modifier=np.clip(np.exp(0.25 * interval - 0.15 * lenient), 0.4, 3),
        hard_factor=1.2 * np.exp(0.1 * np.minimum(longest, 0)),
        leech_lapses=np.where(lapse > 0.8, 100, 8),
        lapse_factor=np.where(lapse > 0.5, 0.4, np.where(lapse > -0.3, 0.15, 0)) * sigmoid(3 + longest),
        longest_days=np.where(longest > 1.3, 30, np.where(longest > 0.9, 120, NEVER)),
    )
