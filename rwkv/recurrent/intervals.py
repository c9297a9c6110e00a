"""When a forgetting curve first falls to a desired retention."""

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.errors import InputError
from rwkv.model.curve import correction_points, recall, recall_at

_LEAST_S = 1.0
# Between neighbouring points the curve is looked at this often; a dip narrower than that may be missed.
_LOOKS_BETWEEN = 2
# Halvings of the step in which the crossing lies: far below a second.
_HALVINGS = 40
# Curves that are looked at together.
_TOGETHER = 1024

Floats = npt.NDArray[np.float64]


def intervals(outputs: Tensor, retention: npt.ArrayLike) -> Floats:
    """Seconds [N] until recall first falls to `retention`: 1.0 where it is there already; NaN beyond 41.8 years.

    outputs: [N, 260], of review rows. retention: for all, or [N]. Raises InputError where it is not between 0 and 1.
    """
    wanted = np.broadcast_to(np.asarray(retention, np.float64), len(outputs))
    outside = ~((wanted > 0) & (wanted < 1))
    if outside.any():
        got = repr(float(wanted[outside][0]))
        raise InputError("This is no desired retention.", got=got, expected="more than 0, less than 1")
    starts = range(0, len(outputs), _TOGETHER)
    parts = [_crossings(outputs[i : i + _TOGETHER], wanted[i : i + _TOGETHER]) for i in starts]
    return np.concatenate([np.empty(0), *parts])


def _crossings(outputs: Tensor, retention: Floats) -> Floats:
    times = _times()
    reached = recall_at(outputs, torch.from_numpy(times)).numpy() <= retention[:, None]
    first = reached.argmax(1)
    found = np.where(reached.any(1), times[first], np.nan)
    (between,) = np.nonzero(reached.any(1) & (first > 0))
    curves, low, high = outputs[between], times[first[between] - 1], times[first[between]]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_past = recall(curves, torch.from_numpy(middle)).numpy() <= retention[between]
        low, high = np.where(is_past, low, middle), np.where(is_past, middle, high)
    found[between] = high
    return found


@cache
def _times() -> Floats:
    """Times from a second to the last point, at which the curve is looked at."""
    points = correction_points(torch.device("cpu")).numpy()
    points = np.concatenate([[_LEAST_S], points[points > _LEAST_S]])
    shares = np.arange(_LOOKS_BETWEEN) / _LOOKS_BETWEEN
    between = points[:-1, None] * (points[1:] / points[:-1])[:, None] ** shares
    return np.append(between.reshape(-1), points[-1])
