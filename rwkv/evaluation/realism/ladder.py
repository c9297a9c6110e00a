"""The realism ladder: figures of simulated learners beside those of people, and whether they meet the goal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Floats
from rwkv.evaluation.realism.figures import Spread, published, shares_of_average, spread_of
from rwkv.evaluation.scores import Score

# Largest relative distance from people, and the figures and ratios that must stay within it.
GOAL = 0.05
# With fewer learners, less than five lie beyond each outer quantile, which then says little.
FEWEST_LEARNERS = 100
_GOAL_FIGURES = ("AVG LogLoss", "FSRS-5 default LogLoss", "FSRS-5 LogLoss")
_GOAL_RATIOS = ("RWKV", "RWKV-P")
_RATIOS = ("MOVING-AVG", "SM-2", "HLR", "DASH", "FSRS-5 default", "FSRS-5", *_GOAL_RATIOS)


@dataclass(frozen=True)
class Line:
    """One figure of simulated learners and of people.

    Attributes:
        name: Name of the figure.
        simulated: Its spread over simulated learners.
        people: Its spread over people; None if it is not published.
        off: Relative distance of each quantile of the learners from that of people; None if not known.
        is_goal: Whether the quantiles should be within GOAL.
    """

    name: str
    simulated: Spread
    people: Spread | None
    off: tuple[float, ...] | None
    is_goal: bool

    @property
    def reached(self) -> int:
        """The number of quantiles within the goal."""
        return sum(abs(share) <= GOAL for share in self.off or ())


@dataclass(frozen=True)
class Ratio:
    """The mean LogLoss of an algorithm divided by AVG's over the same users, for simulated learners and for people."""

    name: str
    simulated: float
    people: float
    is_goal: bool

    @property
    def off(self) -> float:
        """The relative distance of the learners' ratio from people's."""
        return self.simulated / self.people - 1


@dataclass(frozen=True)
class Ladder:
    """The whole ladder.

    Attributes:
        learners: Number of learners compared.
        without: Number of learners left out, since the benchmark counts none of their reviews.
        lines: The figures.
        ratios: The ratios of LogLoss.
    """

    learners: int
    without: int
    lines: tuple[Line, ...]
    ratios: tuple[Ratio, ...]


def ladder(sizes: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, Score]]) -> Ladder:
    """Build the ladder of some learners.

    Args:
        sizes: The figures of each learner, see `size_figures`.
        scores: The scores of each learner by algorithm, in the same order. Learners without scores are left out.

    Raises:
        ValueError: No learner has scores.
    """
    kept = [index for index, by_algorithm in enumerate(scores) if by_algorithm]
    if not kept:
        raise ValueError("no learner has a review that the benchmark tests")
    figures = _figures([sizes[index] for index in kept], [scores[index] for index in kept])
    lines = tuple(_line(name, values) for name, values in figures.items() if not np.isnan(values).all())
    return Ladder(len(kept), len(scores) - len(kept), lines, _ratios(figures))


def _figures(sizes: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, Score]]) -> dict[str, Floats]:
    """The values of each figure by name, [learners]; NaN where a learner has none."""
    names = dict.fromkeys(name for by_algorithm in scores for name in by_algorithm)
    figures = {
        f"{name} {metric}": np.array([_metric(by_algorithm, name, metric) for by_algorithm in scores])
        for name in names
        for metric in ("LogLoss", "AUC")
    }
    figures |= shares_of_average(figures)
    figures["counted reviews"] = np.array([by_algorithm["AVG"].size for by_algorithm in scores], np.float64)
    return figures | {name: np.array([learner[name] for learner in sizes], np.float64) for name in sizes[0]}


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
