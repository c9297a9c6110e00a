"""The rungs of the ladder that are cheap to run: their predictions, and the scores of every learner."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats
from rwkv.evaluation.baselines import average_predictions, moving_average_predictions
from rwkv.evaluation.realism.families import dash, fsrs5, hlr
from rwkv.evaluation.realism.fit import fitted_predictions, start_predictions
from rwkv.evaluation.realism.histories import Histories
from rwkv.evaluation.realism.sm2 import sm2_predictions
from rwkv.evaluation.scores import Score, score

# The name of each rung and its function, which gives the recall before each tested review, [n].
RUNGS: Mapping[str, Callable[[Histories], AnyFloats]] = {
    "AVG": lambda histories: _by_learner(histories, average_predictions),
    "MOVING-AVG": lambda histories: _by_learner(histories, moving_average_predictions),
    "SM-2": sm2_predictions,
    "HLR": lambda histories: fitted_predictions(histories.without_same_day(), hlr()),
    "DASH": lambda histories: fitted_predictions(histories.without_same_day(), dash()),
    "FSRS-5 default": lambda histories: start_predictions(histories, fsrs5()),
    "FSRS-5": lambda histories: fitted_predictions(histories, fsrs5()),
}


def rung_scores(histories: Histories, rungs: Sequence[str] = tuple(RUNGS)) -> list[dict[str, Score]]:
    """The scores of each learner by rung; empty if the benchmark tests none of the learner's reviews."""
    tested = histories.fold > 0
    user, y, bins = histories.user[tested], histories.recalled[tested].astype(np.int8), histories.bins[tested]
    by_rung = {name: RUNGS[name](histories) for name in rungs}
    ends = np.searchsorted(user, np.arange(histories.users + 1))
    spans = [slice(*pair) for pair in pairwise(ends)]
    return [
        {name: score(p[rows], y[rows], bins[rows]) for name, p in by_rung.items() if rows.start < rows.stop}
        for rows in spans
    ]


def _by_learner(histories: Histories, predict: Callable[[npt.ArrayLike], AnyFloats]) -> AnyFloats:
    """Apply `predict` to the outcomes of each learner's counted reviews."""
    counted = histories.fold >= 0
    user, y = histories.user[counted], histories.recalled[counted].astype(np.int8)
    ends = np.searchsorted(user, np.arange(1, histories.users))
    return np.concatenate([predict(outcomes) for outcomes in np.split(y, ends)])
