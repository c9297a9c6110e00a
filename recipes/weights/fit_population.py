"""Fit the distribution of simulated learners: a Gaussian copula with quantile marginals.

    python -m recipes.weights.fit_population users.npz

The file has published results of the spaced-repetition benchmark: `user`, `labels`, `logloss` (a column for each
algorithm), `algorithms`, `fsrs5` [users, 19] and `entities` (user, cards, notes, decks, presets). The output has only
quantiles and rank correlations over all users.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from rwkv.data.simulate.population import KNOTS, VARIABLES

_OUT = Path("rwkv/data/simulate/population.json")
_SOURCE = (
    "Quantiles and rank correlations over 9,933 users of anki-revlogs-10k: published per-user FSRS-5 parameters, "
    "LogLoss of AVG, numbers of counted reviews, cards, notes, decks and presets (open-spaced-repetition)."
)


def main(file: Path) -> None:
    """Write population.json."""
    columns = _columns(dict(np.load(file)))
    z = np.stack([norm.ppf((rankdata(column) - 0.5) / len(column)) for column in columns])
    marginals = [np.quantile(column, norm.cdf(KNOTS)).round(4).tolist() for column in columns]
    correlation = np.corrcoef(z).round(3).tolist()
    stated = {"source": _SOURCE, "variables": VARIABLES, "marginals": marginals, "correlation": correlation}
    rows = ",\n ".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in stated.items())
    _OUT.write_text(f"{{{rows}}}\n")


def _lines(value: object) -> str:
    """JSON with one line for each row of a table."""
    if isinstance(value, list) and isinstance(value[0], list):
        return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "]"
    return json.dumps(value)


def _columns(users: dict[str, npt.NDArray[np.generic]]) -> list[npt.NDArray[np.float64]]:
    """The variables, each float64 [users], transformed as in VARIABLES."""
    entities = users["entities"].astype(np.float64)
    place = {user: row for row, user in enumerate(users["user"].tolist())}
    row = np.array([place.get(int(user), -1) for user in entities[:, 0]])
    entities, row = entities[(row >= 0) & (entities[:, 1] > 0)], row[(row >= 0) & (entities[:, 1] > 0)]
    average = users["logloss"][:, users["algorithms"].tolist().index("AVG")].astype(np.float64)[row]
    cards, notes, decks, presets = entities[:, 1:].T
    return [
        *np.log(np.maximum(users["fsrs5"][row].astype(np.float64).T, 1e-4)),
        average,
        np.log(users["labels"][row].astype(np.float64)),
        np.log(cards),
        notes / cards,
        np.log(np.maximum(decks, 1)),
        np.log(np.maximum(presets, 1)),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
