"""Write the figures of people for `rwkv simulate --check`.

    python -m recipes.weights.fit_published users.npz

The input is that of fit_population.py. The output has only quantiles and means over all users.
"""

import json
import sys
from pathlib import Path

import numpy as np

from rwkv.arrays import Floats
from rwkv.evaluation.realism.figures import PERCENTILES, Spread, shares_of_average, spread_of

_OUT = Path("rwkv/evaluation/realism/published.json")
_SOURCE = (
    "Quantiles and means over 9,999 users of anki-revlogs-10k (entities: 9,933): per-user results published with the "
    "spaced-repetition benchmark of open-spaced-repetition, default keys without same-day reviews, and sizes of the "
    "collections, cards without reviews included. Figures without quantiles: published means."
)
_RUNGS = {
    "AVG": "AVG",
    "SM2": "SM-2",
    "HLR": "HLR",
    "DASH": "DASH",
    "FSRS-5-dry-run": "FSRS-5 default",
    "FSRS-5": "FSRS-5",
}
# Means over users whose single values are not published.
_MEANS = {
    "MOVING-AVG LogLoss": 0.3369,
    "RWKV LogLoss": 0.3193,
    "RWKV AUC": 0.768,
    "RWKV-P LogLoss": 0.2773,
    "RWKV-P AUC": 0.833,
}
_PLACES = 4


def main(file: Path) -> None:
    """Write published.json."""
    users = dict(np.load(file))
    figures: dict[str, Floats] = {}
    for column, algorithm in enumerate(users["algorithms"].tolist()):
        if algorithm in _RUNGS:
            name = _RUNGS[algorithm]
            figures[f"{name} LogLoss"] = users["logloss"][:, column].astype(np.float64)
            figures[f"{name} AUC"] = users["auc"][:, column].astype(np.float64)
    figures |= shares_of_average(figures)
    figures["counted reviews"] = users["labels"].astype(np.float64)
    entities = users["entities"].astype(np.float64)
    has_results = np.isin(entities[:, 0], users["user"])
    cards, notes, decks, presets = entities[has_results & (entities[:, 1] > 0), 1:].T
    figures |= {"cards": cards, "notes": notes, "decks": decks, "presets": presets}
    figures |= {"notes a card": notes / cards, "cards a deck": cards / np.maximum(decks, 1)}

    stated = {name: _rounded(spread_of(values)) for name, values in figures.items()}
    stated |= {name: {"quantiles": None, "mean": mean} for name, mean in _MEANS.items()}
    rows = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in stated.items())
    head = f'"source": {json.dumps(_SOURCE)},\n "percentiles": {json.dumps(PERCENTILES)}'
    _OUT.write_text(f'{{{head},\n "figures": {{\n  {rows}}}}}\n')


def _rounded(spread: Spread) -> dict[str, object]:
    assert spread.quantiles is not None
    assert spread.mean is not None
    return {"quantiles": [round(value, _PLACES) for value in spread.quantiles], "mean": round(spread.mean, _PLACES)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
