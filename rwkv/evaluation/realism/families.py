"""The algorithms whose parameters are fitted to each learner: FSRS-5, HLR and DASH.

Starting points, bounds and spreads are those of the benchmark's fits. HLR and DASH get a spread of 1, which keeps them
near the starting point, where the benchmark stops after five epochs.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Ints
from rwkv.data.fsrs5 import DEFAULT
from rwkv.data.history import cumsum_by_group, order_by_card
from rwkv.evaluation.realism.fit import Family
from rwkv.evaluation.realism.fsrs5 import CardWalk
from rwkv.evaluation.realism.histories import Histories

_DASH_WINDOWS_DAYS = (1, 7, 30, 10**9)
_LONGEST_LOG2_DAYS = 20.0


def fsrs5() -> Family:
    """FSRS-5, which also sees same-day reviews."""
    # fmt: off
    spread = [6.61, 9.52, 17.69, 27.74, 0.55, 0.28, 0.67, 0.12, 0.4, 0.18, 0.34, 0.27, 0.08, 0.14, 0.57, 0.25, 1.03,
              0.27, 0.39]
    least = [0.01, 0.01, 0.01, 0.01, 1, 0.001, 0.001, 0.001, 0, 0, 0.001, 0.001, 0.001, 0.001, 0, 0, 1, 0, 0]
    most = [100, 100, 100, 100, 10, 4, 4, 0.75, 4.5, 0.8, 3.5, 5, 0.25, 0.9, 4, 1, 6, 2, 2]
    # fmt: on
    return Family(
        walk=lambda histories: CardWalk(histories).recall,
        start=torch.tensor(DEFAULT, dtype=torch.float32),
        spread=torch.tensor(spread),
        least=torch.tensor(least, dtype=torch.float32),
        most=torch.tensor(most, dtype=torch.float32),
        is_log=torch.arange(len(DEFAULT)) < 4,
    )


def hlr() -> Family:
    """HLR: the log of the half-life is linear in the square roots of a card's successes and failures.

    Source: Settles and Meeder (2016).
    """
    return _linear(_hlr_walk, [2.5819, -0.8674, 2.7245])


def dash() -> Family:
    """DASH: logistic regression on a card's reviews and successes within the last 1, 7, 30 and all days.

    Source: Mozer and Lindsey (2016).
    """
    return _linear(_dash_walk, [0.2024, 0.5967, 0.1255, 0.6039, -0.1485, 0.572, 0.0933, 0.4801, 0.787])


def _linear(walk: Callable[[Histories], Callable[[Tensor], Tensor]], start: list[float]) -> Family:
    """A family with unbounded parameters."""
    origin = torch.tensor(start)
    ones = torch.ones_like(origin)
    return Family(walk, origin, ones, -torch.inf * ones, torch.inf * ones, is_log=ones < 0)


def _hlr_walk(histories: Histories) -> Callable[[Tensor], Tensor]:
    features = torch.from_numpy(np.sqrt(outcome_counts(histories)).astype(np.float32))
    user, days = torch.from_numpy(histories.user), torch.from_numpy(histories.days.astype(np.float32))

    def recall(w: Tensor) -> Tensor:
        own = w[user]
        log2_half_life = ((features * own[:, :2]).sum(1) + own[:, 2]).clamp(-_LONGEST_LOG2_DAYS, _LONGEST_LOG2_DAYS)
        return torch.exp2(-days / torch.exp2(log2_half_life))

    return recall


def _dash_walk(histories: Histories) -> Callable[[Tensor], Tensor]:
    features = torch.from_numpy(np.log1p(window_counts(histories)).astype(np.float32))
    user = torch.from_numpy(histories.user)

    def recall(w: Tensor) -> Tensor:
        own = w[user]
        return torch.sigmoid((features * own[:, :-1]).sum(1) + own[:, -1])

    return recall


def outcome_counts(histories: Histories) -> Ints:
    """How often the card was recalled and forgotten before each review, int64 [R, 2]."""
    cards = order_by_card(histories.card)
    counts = np.empty((len(histories), 2), np.int64)
    for column, outcome in enumerate((histories.recalled, ~histories.recalled)):
        ordered = outcome[cards.order].astype(np.int64)
        counts[cards.order, column] = cumsum_by_group(ordered, cards.is_start) - ordered
    return counts


def window_counts(histories: Histories) -> Ints:
    """The card's reviews and recalls within each window of DASH before each review, int64 [R, 8]."""
    cards = order_by_card(histories.card)
    day = np.cumsum(histories.days[cards.order])
    place = np.arange(len(day))
    first = np.maximum.accumulate(np.where(cards.is_start, place, 0))
    recalls = np.append(0, np.cumsum(histories.recalled[cards.order]))
    counts = np.empty((len(day), 2 * len(_DASH_WINDOWS_DAYS)), np.int64)
    for window, days in enumerate(_DASH_WINDOWS_DAYS):
        # Days accumulate across cards, so they are sorted. Reviews of earlier cards are cut off by `first`.
        begin = np.maximum(np.searchsorted(day, day - days), first)
        counts[cards.order, 2 * window] = place - begin
        counts[cards.order, 2 * window + 1] = recalls[place] - recalls[begin]
    return counts
