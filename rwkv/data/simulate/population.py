"""Who learners are: a distribution fitted to published figures of ten thousand people, and draws from it.

`recipes/weights/fit_population.py` makes population.json: quantiles of each variable and the correlations of their
normal scores (a Gaussian copula). No single person's figures are in it.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from rwkv.arrays import Floats

FSRS_PARAMETERS = 19

# Logarithms of FSRS-5's parameters, the LogLoss of AVG, and logarithms of counts; the share of notes is notes a card.
VARIABLES = [
    *(f"log w{index}" for index in range(FSRS_PARAMETERS)),
    "average loss",
    "log reviews",
    "log cards",
    "note share",
    "log decks",
    "log presets",
]

# Normal scores at which a marginal's quantiles are kept.
KNOTS = np.array([-3.2, -2.33, -1.64, -1.28, -0.84, -0.52, -0.25, 0, 0.25, 0.52, 0.84, 1.28, 1.64, 2.33, 3.2])


@dataclass(frozen=True)
class Person:
    """What sets people apart in the published figures, one entry a user.

    fsrs: float64 [users, 19], parameters of FSRS-5. retention_z, size_z: normal scores of the share recalled and of the
    number of reviews. note_share: notes a card. decks, presets: how many the collection has.
    """

    fsrs: Floats
    retention_z: Floats
    size_z: Floats
    note_share: Floats
    decks: Floats
    presets: Floats


def draw_people(normal: Floats) -> Person:
    """People from independent standard normals [users, len(VARIABLES)]."""
    marginals, root = _parameters()
    # Not a matrix product: its rounding depends on how many people are drawn together.
    z = (normal[:, None, :] * root).sum(axis=2)
    columns = [np.interp(z[:, index], KNOTS, marginals[index]) for index in range(len(VARIABLES))]
    place = {name: index for index, name in enumerate(VARIABLES)}
    return Person(
        fsrs=np.exp(np.stack(columns[:FSRS_PARAMETERS], axis=1)),
        retention_z=-z[:, place["average loss"]],
        size_z=z[:, place["log reviews"]],
        note_share=columns[place["note share"]],
        decks=np.exp(columns[place["log decks"]]),
        presets=np.exp(columns[place["log presets"]]),
    )


@cache
def _parameters() -> tuple[Floats, Floats]:
    """(quantiles [variables, knots], root of the correlation matrix [variables, variables])."""
    stated = json.loads(files(__package__).joinpath("population.json").read_text())
    return np.array(stated["marginals"]), np.linalg.cholesky(np.array(stated["correlation"]))
