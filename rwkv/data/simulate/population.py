"""The distribution of learners, fitted to published figures of 9,933 people.

`recipes/weights/fit_population.py` creates population.json: quantiles of each variable and correlations of their normal
scores (a Gaussian copula). It has no figures of single people.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from rwkv.arrays import Floats

FSRS_PARAMETERS = 19

# Logarithms of FSRS-5's parameters, the LogLoss of AVG, and logarithms of counts. The note share is notes per card.
VARIABLES = [
    *(f"log w{index}" for index in range(FSRS_PARAMETERS)),
    "average loss",
    "log reviews",
    "log cards",
    "note share",
    "log decks",
    "log presets",
]

# The normal scores of the stored quantiles.
KNOTS = np.array([-3.2, -2.33, -1.64, -1.28, -0.84, -0.52, -0.25, 0, 0.25, 0.52, 0.84, 1.28, 1.64, 2.33, 3.2])


@dataclass(frozen=True)
class Person:
    """Draws from the population, one entry per user.

    Attributes:
        fsrs: Parameters of FSRS-5, float64 [users, 19].
        average_loss: The LogLoss of a constant prediction, the entropy of the share of recalled reviews.
        retention_z, size_z: Normal scores of the share of recalled reviews, and of the number of reviews.
        note_share: Notes per card.
        decks, presets: Numbers of decks and presets.
    """

    fsrs: Floats
    average_loss: Floats
    retention_z: Floats
    size_z: Floats
    note_share: Floats
    decks: Floats
    presets: Floats


def draw_people(normal: Floats) -> Person:
    """Transform independent standard normals [users, len(VARIABLES)] to people."""
    marginals, root = _parameters()
    # A matrix product would round differently by the number of people.
    z = (normal[:, None, :] * root).sum(axis=2)
    columns = [np.interp(z[:, index], KNOTS, marginals[index]) for index in range(len(VARIABLES))]
    place = {name: index for index, name in enumerate(VARIABLES)}
    return Person(
        fsrs=np.exp(np.stack(columns[:FSRS_PARAMETERS], axis=1)),
        average_loss=columns[place["average loss"]],
        retention_z=-z[:, place["average loss"]],
        size_z=z[:, place["log reviews"]],
        note_share=columns[place["note share"]],
        decks=np.exp(columns[place["log decks"]]),
        presets=np.exp(columns[place["log presets"]]),
    )


@cache
def _parameters() -> tuple[Floats, Floats]:
    """Quantiles [variables, knots], and the root of the correlation matrix [variables, variables]."""
    stated = json.loads(files(__package__).joinpath("population.json").read_text())
    return np.array(stated["marginals"]), np.linalg.cholesky(np.array(stated["correlation"]))
