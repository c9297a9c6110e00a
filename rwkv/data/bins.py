"""The bins of RMSE(bins): reviews of like lapses, interval and repetitions (spec 2, step 11)."""

import numpy as np
import numpy.typing as npt


def rmse_bins(lapses: npt.ArrayLike, interval_days: npt.ArrayLike, repetition: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Number the bins of reviews.

    lapses >= 0, interval_days > 0, repetition >= 1: [n]. Returns int32 [n], numbered in order of first appearance.
    """
    lapses = np.asarray(lapses, np.float64)
    with np.errstate(divide="ignore"):
        lapse_bin = np.where(lapses == 0, 0, np.round(1.65 * _power_below(lapses, 1.73), 0))
    interval_bin = np.round(2.48 * _power_below(interval_days, 3.62), 2)
    repetition_bin = np.round(1.99 * _power_below(repetition, 1.89), 0)
    triples = np.stack([lapse_bin, interval_bin, repetition_bin], axis=1)
    _, number = np.unique(triples, axis=0, return_inverse=True)
    return number_by_appearance(number)[0].astype(np.int32)


def number_by_appearance(ids: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Renumber ids 0, 1, ... in order of first appearance.

    Returns (numbers [n], position of the first appearance of each number [distinct]).
    """
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    rank = np.empty_like(by_appearance)
    rank[by_appearance] = np.arange(len(rank))
    return rank[inverse], first[by_appearance]


def _power_below(x: npt.ArrayLike, base: float) -> npt.NDArray[np.float64]:
    """base ** floor(log_base(x))."""
    return np.power(base, np.floor(np.log(np.asarray(x, np.float64)) / np.log(base)))
