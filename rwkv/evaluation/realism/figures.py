"""What is compared of learners and people: quantiles and means of figures, each of which a person has one of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from rwkv.arrays import Floats
from rwkv.data.history import RevlogTable
from rwkv.vocab import RATINGS

PERCENTILES = (5, 25, 50, 75, 95)
STATES = ("new", "learning", "review", "relearning", "filtered")


@dataclass(frozen=True)
class Spread:
    """How a figure is spread over people: quantiles at PERCENTILES, and the mean; None where it is not known."""

    quantiles: tuple[float, ...] | None
    mean: float | None


def spread_of(values: Floats) -> Spread:
    """The spread of values [people], of which NaN are left out. Raises ValueError for none at all."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise ValueError("nobody has this figure")
    return Spread(tuple(np.percentile(known, PERCENTILES).tolist()), float(known.mean()))


@cache
def published() -> Mapping[str, Spread]:
    """By figure, how it is spread over the 9,999 people of the benchmark. recipes/weights/fit_published.py makes it."""
    stated = json.loads(files(__package__).joinpath("published.json").read_text())
    return {
        name: Spread(None if of["quantiles"] is None else tuple(of["quantiles"]), of["mean"])
        for name, of in stated["figures"].items()
    }


def size_figures(table: RevlogTable) -> dict[str, float]:
    """How large a history is, and the shares of its ratings and states."""
    cards, notes = len(table.cards.note), len(np.unique(table.cards.note))
    decks, presets = len(np.unique(table.cards.deck)), len(np.unique(table.cards.preset))
    ratings = {f"rating {rating}": float(np.mean(table.rating == rating)) for rating in RATINGS}
    states = {f"state {name}": float(np.mean(table.state == number)) for number, name in enumerate(STATES)}
    return {
        "reviews": len(table),
        "cards": cards,
        "notes": notes,
        "decks": decks,
        "presets": presets,
        "notes a card": notes / cards,
        "cards a deck": cards / decks,
        **ratings,
        **states,
    }
