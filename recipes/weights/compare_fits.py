"""Compare FSRS-5 parameters fitted to simulated learners with those fitted to people.

    python -m recipes.weights.compare_fits DATASET users.npz

DATASET is written by `rwkv simulate`, and users.npz is the file of fit_population.py. A learner's memory has parameters
drawn from people's fits, and other effects in addition: waves, ease of cards, habits. If fits of learners' histories
agree with fits of people, the simulation as a whole is realistic as far as FSRS-5 can tell.
"""

import sys
from pathlib import Path

import numpy as np

from rwkv.arrays import AnyFloats
from rwkv.data.revlogs import list_users, read_history
from rwkv.evaluation.realism.families import fsrs5
from rwkv.evaluation.realism.figures import PERCENTILES
from rwkv.evaluation.realism.fit import fitted_parameters
from rwkv.evaluation.realism.histories import histories_of

# Fits of short histories stay near the defaults, so only histories of similar sizes are compared.
LEAST, MOST = 1_000, 20_000
_LEARNERS = 100


def main(dataset: Path, file: Path) -> None:
    """Print the quantiles of each parameter for learners and people."""
    learners, people = _learners(dataset), _people(file)
    print(f"{len(learners)} learners, {len(people)} people with {LEAST:,} to {MOST:,} counted reviews")
    print("    " + "".join(f"{percentile:>8} %" for percentile in PERCENTILES) + "   learners, then people")
    for index in range(learners.shape[1]):
        for name, fits in ((f"w{index}", learners), ("", people)):
            quantiles = np.percentile(fits[:, index], PERCENTILES)
            print(f"{name:4}" + "".join(f"{quantile:10.3f}" for quantile in quantiles))


def _learners(dataset: Path) -> AnyFloats:
    """Parameters [learners, 19] fitted to the first learners of a similar size."""
    chosen = []
    for user in list_users(dataset):
        table = read_history(dataset, user)
        if LEAST <= (table.elapsed_days > 0).sum() <= MOST:
            chosen.append(table)
        if len(chosen) == _LEARNERS:
            break
    return fitted_parameters(histories_of(chosen), fsrs5())


def _people(file: Path) -> AnyFloats:
    """Published parameters [people, 19] of people with histories of a similar size."""
    users = dict(np.load(file))
    is_alike = (users["labels"] >= LEAST) & (users["labels"] <= MOST)
    fits: AnyFloats = users["fsrs5"][is_alike]
    return fits[np.isfinite(fits).all(axis=1)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
