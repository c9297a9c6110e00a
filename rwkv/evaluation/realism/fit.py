"""Parameters fitted to many learners in parallel, each learner's to the reviews before the tested split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from rwkv.arrays import AnyFloats
from rwkv.data.keys import TEST_SPLITS
from rwkv.evaluation.realism.histories import Histories

# Each split starts from the parameters of the previous one, whose reviews it includes, and so needs fewer steps.
_FIRST_STEPS, _LATER_STEPS = 25, 8
_WHOLE_STEPS = 40
_FIRST_RATE, _LATER_RATE = 0.2, 0.08
_LEAST_P = 1e-4


@dataclass(frozen=True)
class Family:
    """An algorithm with k parameters: its predictions, and the start and bounds of the parameters.

    Attributes:
        walk: For some histories, gives the function from parameters [users, k] to the recall before each review [R].
        start: First value of each parameter, float32 [k].
        spread: Standard deviation of each parameter over people, [k]; the prior of the fit.
        least: Lower bounds [k].
        most: Upper bounds [k].
        is_log: Which parameters are fitted on a log scale, bool [k].
    """

    walk: Callable[[Histories], Callable[[Tensor], Tensor]]
    start: Tensor
    spread: Tensor
    least: Tensor
    most: Tensor
    is_log: Tensor


def start_predictions(histories: Histories, family: Family) -> AnyFloats:
    """The recall before each tested review [n], with the starting parameters."""
    with torch.no_grad():
        w = family.start.expand(histories.users, -1)
        return family.walk(histories)(w).numpy()[histories.fold > 0]


def fitted_predictions(histories: Histories, family: Family) -> AnyFloats:
    """The recall before each tested review [n], with parameters fitted for each split to the reviews before it."""
    fold = histories.fold[histories.fold > 0]
    p = np.full(len(fold), np.nan, np.float32)
    position = torch.zeros(histories.users, len(family.start))
    for split in range(1, TEST_SPLITS + 1):
        is_first = split == 1
        steps, rate = (_FIRST_STEPS, _FIRST_RATE) if is_first else (_LATER_STEPS, _LATER_RATE)
        position = _fit(histories.until(split - 1), family, position, steps, rate)
        tested = histories.until(split)
        with torch.no_grad():
            p[fold == split] = family.walk(tested)(_parameters(family, position)).numpy()[tested.fold == split]
    return p


def fitted_parameters(histories: Histories, family: Family) -> AnyFloats:
    """Parameters [users, k] fitted to all counted reviews of each learner."""
    start = torch.zeros(histories.users, len(family.start))
    return _parameters(family, _fit(histories, family, start, _WHOLE_STEPS, _FIRST_RATE)).numpy()


def _fit(histories: Histories, family: Family, position: Tensor, steps: int, rate: float) -> Tensor:
    """Fit the parameters of all learners at once by Adam, independently of one another; returns their positions.

    A learner's loss is the LogLoss summed over the counted reviews, plus the squared distance from the start in units
    of the spread, as in the benchmark's FSRS-5.
    """
    counted = torch.from_numpy(np.flatnonzero(histories.fold >= 0))
    outcome = torch.from_numpy(histories.recalled.astype(np.float32))[counted]
    user = torch.from_numpy(histories.user)[counted]
    # Divide by the learner's number of reviews, so that Adam's rounding does not depend on the number of reviews.
    share = 1 / torch.bincount(user, minlength=histories.users).clamp(min=1)
    walk = family.walk(histories)
    position = position.clone().requires_grad_()
    optimizer = torch.optim.Adam([position], lr=rate, betas=(0.8, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        w = _parameters(family, position)
        p = walk(w)[counted].clamp(_LEAST_P, 1 - _LEAST_P)
        loss = (binary_cross_entropy(p, outcome, reduction="none") * share[user]).sum()
        loss = loss + ((((w - family.start) / family.spread) ** 2).sum(1) * share).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
    return position.detach()


def _parameters(family: Family, position: Tensor) -> Tensor:
    """The parameters [users, k] at positions [users, k]; position 0 is the start."""
    by_factor = family.start * torch.exp(torch.where(family.is_log, position, 0))
    moved = torch.where(family.is_log, by_factor, family.start + family.spread * position)
    return torch.minimum(torch.maximum(moved, family.least), family.most)
