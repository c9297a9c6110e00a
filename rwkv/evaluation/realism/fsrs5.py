"""FSRS-5 over all cards of many learners at once, each with separate parameters, differentiable by torch.

Tests compare the formulas with those of rwkv.data.fsrs5.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rwkv.evaluation.realism.histories import Histories, layers

_FACTOR, _POWER = 19 / 81, -0.5
_LEAST_DAYS, _MOST_DAYS = 0.01, 36_500.0


@dataclass(frozen=True)
class _Layer:
    """The k-th reviews of all cards that have at least k: rows, rating, days and user, each [n]."""

    rows: Tensor
    rating: Tensor
    days: Tensor
    user: Tensor


class CardWalk:
    """The reviews of some histories, ordered once, then predicted with any parameters."""

    def __init__(self, histories: Histories) -> None:
        self._reviews = len(histories)
        self._layers = [
            _Layer(
                torch.from_numpy(rows),
                torch.from_numpy(histories.rating[rows]),
                torch.from_numpy(histories.days[rows].astype(np.float32)),
                torch.from_numpy(histories.user[rows]),
            )
            for rows in layers(histories.card)
        ]

    def recall(self, w: Tensor) -> Tensor:
        """Predict each review from the earlier ones of its card.

        Args:
            w: The 19 parameters of each learner, [users, 19].

        Returns:
            The probability of recall [R], of w's dtype; NaN at the first review of each card.
        """
        if not self._layers:
            return w.new_empty(0)
        first, *others = self._layers
        own = w[first.user]
        stability = own.gather(1, first.rating[:, None] - 1).squeeze(1)
        difficulty = _first_difficulty(own, first.rating).clamp(1, 10)
        parts = [w.new_full((len(first.rows),), torch.nan)]
        for layer in others:
            count = len(layer.rows)
            own, stability, difficulty = w[layer.user], stability[:count], difficulty[:count]
            recall = (1 + _FACTOR * layer.days.to(w.dtype) / stability) ** _POWER
            parts.append(recall)
            stability = _next_stability(own, stability, difficulty, layer, recall)
            difficulty = _next_difficulty(own, difficulty, layer.rating)
        place = torch.empty(self._reviews, dtype=torch.int64)
        place[torch.cat([layer.rows for layer in self._layers])] = torch.arange(self._reviews)
        return torch.cat(parts)[place]


def _next_stability(w: Tensor, stability: Tensor, difficulty: Tensor, layer: _Layer, recall: Tensor) -> Tensor:
    w8, w9, w10, w11, w12, w13, w14, w15, w16, w17, w18 = w[:, 8:].unbind(1)
    rating = layer.rating
    button = torch.where(rating == 2, w15, torch.where(rating == 4, w16, 1.0))
    gain = torch.exp(w8) * (11 - difficulty) * stability**-w9 * torch.expm1(w10 * (1 - recall))
    lapsed = w11 * difficulty**-w12 * ((stability + 1) ** w13 - 1) * torch.exp(w14 * (1 - recall))
    lapsed = torch.minimum(lapsed, stability / torch.exp(w17 * w18))
    within_day = stability * torch.exp(w17 * (rating - 3 + w18))
    later = torch.where(rating == 1, lapsed, stability * (1 + gain * button))
    return torch.where(layer.days < 1, within_day, later).clamp(_LEAST_DAYS, _MOST_DAYS)


def _next_difficulty(w: Tensor, difficulty: Tensor, rating: Tensor) -> Tensor:
    stepped = difficulty - w[:, 6] * (rating - 3) * (10 - difficulty) / 9
    easy = _first_difficulty(w, torch.full_like(rating, 4))
    return (w[:, 7] * easy + (1 - w[:, 7]) * stepped).clamp(1, 10)


def _first_difficulty(w: Tensor, rating: Tensor) -> Tensor:
    return w[:, 4] - torch.exp(w[:, 5] * (rating - 1)) + 1
