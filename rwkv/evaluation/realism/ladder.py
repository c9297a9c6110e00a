"""The realism ladder: figures of simulated learners beside those of people, and which of them are near enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Floats
from rwkv.evaluation.realism.figures import Spread, published, spread_of
from rwkv.evaluation.scores import Score

# How far from people's a quantile or a ratio may be, and of which figures it is asked.
GOAL = 0.05
_GOAL_FIGURES = ("AVG LogLoss", "FSRS-5 default LogLoss", "FSRS-5 LogLoss")
_GOAL_RATIOS = ("RWKV", "RWKV-P")
_RATIOS = ("MOVING-AVG", "SM-2", "HLR", "DASH", "FSRS-5 default", "FSRS-5", *_GOAL_RATIOS)


@dataclass(frozen=True)
class Line:
    """One figure: of simulated learners and of people, None where nobody has published it.

    off: by how much each quantile of the learners lies above that of people, as a share of it; None where that is not
    known. is_goal: whether the quantiles are asked to be within GOAL.
    """

    name: str
    simulated: Spread
    people: Spread | None
    off: tuple[float, ...] | None
    is_goal: bool

    @property
    def reached(self) -> int:
        """How many quantiles are within the goal."""
        return sum(abs(share) <= GOAL for share in self.off or ())


@dataclass(frozen=True)
class Ratio:
    """Mean LogLoss of an algorithm as a share of AVG's over the same users, of simulated learners and of people."""

    name: str
    simulated: float
    people: float
    is_goal: bool

    @property
    def off(self) -> float:
        """By how much the learners' lies above people's, as a share of it."""
        return self.simulated / self.people - 1


@dataclass(frozen=True)
class Ladder:
    """learners: how many were compared. without: those of whom the benchmark counts nothing."""

    learners: int
    without: int
    lines: tuple[Line, ...]
    ratios: tuple[Ratio, ...]


def ladder(sizes: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, Score]]) -> Ladder:
    """The ladder of learners by what is known of each, in the same order.

    sizes: figures of each, see `size_figures`. scores: of each, by algorithm; empty where the benchmark tests nothing,
    and such learners are left out of everything. Raises ValueError where all are.
    """
    kept = [index for index, of in enumerate(scores) if of]
    if not kept:
        raise ValueError("the benchmark tests nothing of any learner")
    figures = _figures([sizes[index] for index in kept], [scores[index] for index in kept])
    lines = tuple(_line(name, values) for name, values in figures.items() if not np.isnan(values).all())
    return Ladder(len(kept), len(scores) - len(kept), lines, _ratios(figures))


def _figures(sizes: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, Score]]) -> dict[str, Floats]:
    """By name, a value of each learner, NaN where he has none."""
    names = dict.fromkeys(name for of in scores for name in of)
    figures = {
        f"{name} {metric}": np.array([_metric(of, name, metric) for of in scores])
        for name in names
        for metric in ("LogLoss", "AUC")
    }
    average = figures["AVG LogLoss"]
    for name in ("FSRS-5 default", "FSRS-5"):
        if name in names:
            figures[f"{name} / AVG"] = figures[f"{name} LogLoss"] / np.where(average > 0, average, np.nan)
    figures["counted reviews"] = np.array([of["AVG"].size for of in scores], np.float64)
    return figures | {name: np.array([of[name] for of in sizes], np.float64) for name in sizes[0]}


def _metric(scores: Mapping[str, Score], name: str, metric: str) -> float:
    value = scores[name].metrics[metric] if name in scores else None
    return np.nan if value is None else value


def _line(name: str, values: Floats) -> Line:
    simulated, people = spread_of(values), published().get(name)
    off = None
    if people is not None and people.quantiles is not None and simulated.quantiles is not None:
        pairs = zip(simulated.quantiles, people.quantiles, strict=True)
        off = tuple(ours / theirs - 1 for ours, theirs in pairs)
    return Line(name, simulated, people, off, name in _GOAL_FIGURES)


def _ratios(figures: Mapping[str, Floats]) -> tuple[Ratio, ...]:
    average, people_average = figures["AVG LogLoss"], published()["AVG LogLoss"].mean
    ratios = []
    for name in _RATIOS:
        values, people = figures.get(f"{name} LogLoss"), published()[f"{name} LogLoss"].mean
        if values is not None and people is not None and people_average is not None:
            known = ~np.isnan(values)
            ratio = float(values[known].sum() / average[known].sum())
            ratios.append(Ratio(name, ratio, people / people_average, name in _GOAL_RATIOS))
    return tuple(ratios)
