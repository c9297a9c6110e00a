"""The figures that are compared between learners and people: one value for each person, then quantiles and means."""

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
# Bounds of AVG's LogLoss by level. The people of the first one recall 97% or more.
LEVELS = {
    "below 0.13": (0, 0.13),
    "0.13 to 0.22": (0.13, 0.22),
    "0.22 to 0.40": (0.22, 0.4),
    "above 0.40": (0.4, np.inf),
}
STATES = ("new", "learning", "review", "relearning", "filtered")


@dataclass(frozen=True)
class Spread:
    """The distribution of a figure over people: quantiles at PERCENTILES, and the mean; None where unknown."""

    quantiles: tuple[float, ...] | None
    mean: float | None


def spread_of(values: Floats) -> Spread:
    """The spread of the values [people] that are not NaN.

    Raises:
        ValueError: All values are NaN.
    """
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise ValueError("all values of this figure are missing")
    return Spread(tuple(np.percentile(known, PERCENTILES).tolist()), float(known.mean()))


def shares_of_average(figures: Mapping[str, Floats]) -> dict[str, Floats]:
    """FSRS-5's LogLoss as a share of AVG's, with default and fitted parameters, and the latter also by level.

    Args:
        figures: "AVG LogLoss", and those of FSRS-5 that are known, float64 [people].

    Returns:
        Shares [people] by name; NaN where AVG's LogLoss is 0, or of another level.
    """
    average = figures["AVG LogLoss"]
    shares = {
        f"{name} / AVG": figures[f"{name} LogLoss"] / np.where(average > 0, average, np.nan)
        for name in ("FSRS-5 default", "FSRS-5")
        if f"{name} LogLoss" in figures
    }
    if "FSRS-5 / AVG" in shares:
        for name, (least, most) in LEVELS.items():
            is_within = (average >= least) & (average < most)
            shares[f"FSRS-5 / AVG {name}"] = np.where(is_within, shares["FSRS-5 / AVG"], np.nan)
    return shares


@cache
def published() -> Mapping[str, Spread]:
    """The spread of each figure over the 9,999 people of the benchmark; of sizes, over the 9,933 with a table of cards.

    Source: recipes/weights/fit_published.py, which computes the file.
    """
    content = json.loads(files(__package__).joinpath("published.json").read_text())
    return {
        name: Spread(None if figure["quantiles"] is None else tuple(figure["quantiles"]), figure["mean"])
        for name, figure in content["figures"].items()
    }


def size_figures(table: RevlogTable) -> dict[str, float]:
    """The size of a history, and the shares of its ratings and states."""
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
