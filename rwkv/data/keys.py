"""The reviews that the benchmark counts, and their RMSE bins (spec 2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Int32s, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, number_by_appearance, stable_order
from rwkv.vocab import SECONDS_PER_DAY

MAX_REVIEWS_OF_A_CARD = 128
TEST_SPLITS = 5

# Step 9 removes a group's rare intervals until this share, and at least this number, of its reviews is removed.
_OUTLIER_SHARE = 0.05
_OUTLIER_COUNT = 20
# If at most this many cards have the same first rating, all their second reviews are removed.
RARE_CARDS = _OUTLIER_COUNT - 1
# Longer intervals are removed, too.
LONGEST_DAYS, LONGEST_DAYS_AFTER_EASY = 100, 365
_RARE_INTERVAL = 6
_EASY = 4


@dataclass(frozen=True)
class BenchmarkKeys:
    """The counted reviews. review_ths: ascending, int32 [n]. rmse_bins: the bin of each, int32 [n]."""

    review_ths: Int32s
    rmse_bins: Int32s

    def __len__(self) -> int:
        return len(self.review_ths)

    def mark(self, review_th: Int32s) -> Bools:
        """Whether each of the given reviews is a key."""
        return np.isin(review_th, self.review_ths)


NO_KEYS = BenchmarkKeys(np.empty(0, np.int32), np.empty(0, np.int32))


@dataclass
class _Frame:
    """The remaining reviews after a step, by card and time."""

    row: Ints
    card: Int32s
    rating: Ints
    elapsed_days: Ints
    t_days: Ints
    t_secs: np.ndarray

    def keep(self, mask: Bools) -> "_Frame":
        return _Frame(**{name: column[mask] for name, column in vars(self).items()})

    def starts(self) -> Bools:
        is_start = np.ones(len(self.card), bool)
        is_start[1:] = self.card[1:] != self.card[:-1]
        return is_start

    def count(self, values: Bools | None = None) -> Ints:
        """The running count within each card of rows where `values` is set, or of all rows, up to and with the row."""
        ones = np.ones(len(self.card), np.int64) if values is None else values.astype(np.int64)
        return cumsum_by_group(ones, self.starts())

    def first_rating(self) -> Ints:
        starts = np.flatnonzero(self.starts())
        return np.repeat(self.rating[starts], np.diff(starts, append=len(self.card)))


def benchmark_keys(table: RevlogTable, short: bool, secs: bool) -> BenchmarkKeys:
    """Find the reviews of a user that the benchmark counts.

    These are the last five sixths of the candidates, as by scikit-learn's TimeSeriesSplit(n_splits=5).

    Args:
        table: The history.
        short: Whether same-day reviews count.
        secs: Whether intervals are fractional days.

    Source: spec 2, step 12.
    """
    candidates = candidate_reviews(table, short, secs)
    first = folds_of(len(candidates))[0].start
    return BenchmarkKeys(candidates.review_ths[first:], candidates.rmse_bins[first:])


def folds_of(candidates: int) -> list[slice]:
    """The five test sets of n candidates, each for a model trained on all candidates before it.

    Equal to the test sets of scikit-learn's TimeSeriesSplit(5). The first sixth is never tested. With fewer than six
    candidates the sets are empty. Source: spec 2, step 12.
    """
    fold = candidates // (TEST_SPLITS + 1)
    starts = range(candidates - TEST_SPLITS * fold, candidates, fold) if fold else [candidates] * TEST_SPLITS
    return [slice(start, start + fold) for start in starts]


def candidate_reviews(table: RevlogTable, short: bool, secs: bool) -> BenchmarkKeys:
    """The candidate reviews of a user, with their bins (spec 2, steps 1 to 11)."""
    frame = _ordered_rows(table, short)
    interval = frame.t_secs if secs else frame.t_days
    lapsed = (frame.rating == 1) & (secs | (frame.t_days > 0))
    lapses = frame.count(lapsed) - lapsed
    first_rating = frame.first_rating()
    kept = (interval != 0) | (frame.count() == 1) if short else np.ones(len(interval), bool)
    frame, interval, lapses, first_rating = frame.keep(kept), interval[kept], lapses[kept], first_rating[kept]

    repetition = 1 + frame.count(frame.elapsed_days > 0)
    kept = interval > 0
    if not secs:
        usable = _without_outliers(repetition, interval, first_rating)
        if not np.any(repetition[usable] == 2):
            return NO_KEYS
        kept &= _continuous(frame.card, repetition, usable)
    rows = frame.row[kept]
    by_time = np.argsort(rows)
    bins = rmse_bins(lapses[kept][by_time], interval[kept][by_time], repetition[kept][by_time])
    return BenchmarkKeys(table.review_th[rows[by_time]], bins)


def _ordered_rows(table: RevlogTable, short: bool) -> _Frame:
    """Steps 1 to 4: sort by card and time, keep the first 128 of each card, and same-day rows only if `short`."""
    row = stable_order(table.card)
    elapsed_days = table.elapsed_days[row].astype(np.int64)
    frame = _Frame(
        row=row,
        card=table.card[row],
        rating=table.rating[row].astype(np.int64),
        elapsed_days=elapsed_days,
        t_days=np.maximum(0, elapsed_days),
        t_secs=np.maximum(0, table.elapsed_s[row] / SECONDS_PER_DAY),
    )
    frame = frame.keep(frame.count() <= MAX_REVIEWS_OF_A_CARD)
    return frame if short else frame.keep(frame.elapsed_days != 0)


def _without_outliers(repetition: Ints, interval: Ints, first_rating: Ints) -> Bools:
    """Step 9, first part: whether each row remains after removing rare second intervals."""
    usable = np.ones(len(interval), bool)
    for rating in np.unique(first_rating):
        group = np.flatnonzero((repetition == 2) & (first_rating == rating))
        removed = _outlier_intervals(
            interval[group], longest=LONGEST_DAYS_AFTER_EASY if rating == _EASY else LONGEST_DAYS
        )
        usable[group[np.isin(interval[group], removed)]] = False
    return usable


def _outlier_intervals(interval: Ints, longest: int) -> list[int]:
    """The intervals to remove from one group, the rarest first, and the longest first among equally rare ones."""
    values, counts = np.unique(interval, return_counts=True)
    limit = max(_OUTLIER_SHARE * len(interval), _OUTLIER_COUNT)
    removed, removed_rows = [], 0
    for index in np.lexsort((-values, counts)):
        value, count = int(values[index]), int(counts[index])
        if removed_rows + count < limit or count < _RARE_INTERVAL or value > longest:
            removed.append(value)
            removed_rows += count
    return removed


def _continuous(card: Int32s, repetition: Ints, usable: Bools) -> Bools:
    """Step 9, second part: the usable rows of each card up to the first gap in `repetition`."""
    row = np.flatnonzero(usable)
    is_start = np.ones(len(row), bool)
    is_start[1:] = card[row[1:]] != card[row[:-1]]
    step = np.diff(repetition[row], prepend=0)
    broken = cumsum_by_group(((step != 1) & ~is_start).astype(np.int64), is_start)
    kept = np.zeros(len(card), bool)
    kept[row[broken == 0]] = True
    return kept


def rmse_bins(lapses: npt.ArrayLike, interval_days: npt.ArrayLike, repetition: npt.ArrayLike) -> Int32s:
    """Assign reviews to the bins of RMSE(bins).

    Args:
        lapses: Lapses before the review, 0 or more [n].
        interval_days: Days since the card's previous review, above 0 [n].
        repetition: The number of the review, from 1 [n].

    Returns:
        Bin numbers int32 [n], in order of first appearance.
    """
    lapses = np.asarray(lapses, np.float64)
    with np.errstate(divide="ignore"):
        lapse_bin = np.where(lapses == 0, 0, np.round(1.65 * _power_below(lapses, 1.73), 0))
    interval_bin = np.round(2.48 * _power_below(interval_days, 3.62), 2)
    repetition_bin = np.round(1.99 * _power_below(repetition, 1.89), 0)
    number = np.zeros(len(lapses), np.int64)
    for bins in (lapse_bin, interval_bin, repetition_bin):
        values, place = np.unique(bins, return_inverse=True)
        number = number * len(values) + place
    return number_by_appearance(number)[0].astype(np.int32)


def _power_below(x: npt.ArrayLike, base: float) -> Floats:
    """base ** floor(log_base(x))."""
    return np.power(base, np.floor(np.log(np.asarray(x, np.float64)) / np.log(base)))
