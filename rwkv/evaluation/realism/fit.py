"""Parameters fitted to many learners side by side, each learner's to what he did before the part that is tested."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from rwkv.arrays import AnyFloats
from rwkv.data.keys import TEST_SPLITS
from rwkv.evaluation.realism.histories import Histories

# Each split goes on from the parameters of the one before, of whose reviews it has all, so that it needs fewer steps.
_FIRST_STEPS, _LATER_STEPS = 25, 8
_FIRST_RATE, _LATER_RATE = 0.2, 0.08
_LEAST_P = 1e-4


@dataclass(frozen=True)
class Family:
    """An algorithm with k parameters: how it predicts, and where its parameters begin and may go.

    walk: of some histories, the function from parameters [users, k] to the recall before each review [R]. start, least,
    most: [k]; spread: that of people around the start, by which the fit is held near it. is_log [k]: which parameters
    are moved by factors.
    """

    walk: Callable[[Histories], Callable[[Tensor], Tensor]]
    start: Tensor
    spread: Tensor
    least: Tensor
    most: Tensor
    is_log: Tensor


def start_predictions(histories: Histories, family: Family) -> AnyFloats:
    """The recall before each tested review [T], by the parameters that nobody fitted."""
    with torch.no_grad():
        w = family.start.expand(histories.users, -1)
        return family.walk(histories)(w).numpy()[histories.fold > 0]


def fitted_predictions(histories: Histories, family: Family) -> AnyFloats:
    """The recall before each tested review [T], by parameters fitted, for each split, to what lies before it."""
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


def _fit(histories: Histories, family: Family, position: Tensor, steps: int, rate: float) -> Tensor:
    """Where the parameters come to: Adam over all learners at once, none of whom touches another.

    A learner's loss is the sum over his counted reviews, and the squared distance from the start in spreads: that of
    the benchmark's FSRS-5.
    """
    counted = torch.from_numpy(np.flatnonzero(histories.fold >= 0))
    came = torch.from_numpy(histories.recalled.astype(np.float32))[counted]
    user = torch.from_numpy(histories.user)[counted]
    # A learner's size divided out, so that the rounding of Adam is the same for all.
    share = 1 / torch.bincount(user, minlength=histories.users).clamp(min=1)
    walk = family.walk(histories)
    position = position.clone().requires_grad_()
    optimizer = torch.optim.Adam([position], lr=rate, betas=(0.8, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        w = _parameters(family, position)
        p = walk(w)[counted].clamp(_LEAST_P, 1 - _LEAST_P)
        loss = (binary_cross_entropy(p, came, reduction="none") * share[user]).sum()
        loss = loss + ((((w - family.start) / family.spread) ** 2).sum(1) * share).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
    return position.detach()


def _parameters(family: Family, position: Tensor) -> Tensor:
    """Parameters [users, k] at positions, of which 0 is the start."""
    by_factor = family.start * torch.exp(torch.where(family.is_log, position, 0))
    moved = torch.where(family.is_log, by_factor, family.start + family.spread * position)
    return torch.minimum(torch.maximum(moved, family.least), family.most)
