"""Which reviews the benchmark counts, and their RMSE bins (spec 2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Int32s, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, number_by_appearance
from rwkv.vocab import SECONDS_PER_DAY

MAX_REVIEWS_OF_A_CARD = 128
TEST_SPLITS = 5

# Step 9: a group's rare intervals are removed until this share, and at least this number, of its reviews is reached.
_OUTLIER_SHARE = 0.05
_OUTLIER_COUNT = 20
# So many cards with the same first rating or fewer lose all their second reviews there.
RARE_CARDS = _OUTLIER_COUNT - 1
# Longer intervals go too, whether they are rare or not.
LONGEST_DAYS, LONGEST_DAYS_AFTER_EASY = 100, 365
_RARE_INTERVAL = 6
_EASY = 4


@dataclass(frozen=True)
class BenchmarkKeys:
    """Reviews in review_th order and the bin of each: review_ths, rmse_bins int32 [n]."""

    review_ths: Int32s
    rmse_bins: Int32s

    def __len__(self) -> int:
        return len(self.review_ths)

    def mark(self, review_th: Int32s) -> Bools:
        """Which of the given reviews are among the keys."""
        return np.isin(review_th, self.review_ths)


NO_KEYS = BenchmarkKeys(np.empty(0, np.int32), np.empty(0, np.int32))


@dataclass
class _Frame:
    """Reviews ordered by (card, time), shrinking from step to step. All columns have one entry a remaining review."""

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
        """Running count within each card of the rows where `values` holds, this row included (all rows if None)."""
        ones = np.ones(len(self.card), np.int64) if values is None else values.astype(np.int64)
        return cumsum_by_group(ones, self.starts())

    def first_rating(self) -> Ints:
        starts = np.flatnonzero(self.starts())
        return np.repeat(self.rating[starts], np.diff(starts, append=len(self.card)))


def benchmark_keys(table: RevlogTable, short: bool, secs: bool) -> BenchmarkKeys:
    """The test reviews of a user: the last five sixths of the candidates, scikit-learn's TimeSeriesSplit(n_splits=5).

    short: same-day reviews count. secs: intervals are fractional days. Source: spec 2, step 12.
    """
    candidates = candidate_reviews(table, short, secs)
    first = folds_of(len(candidates))[0].start
    return BenchmarkKeys(candidates.review_ths[first:], candidates.rmse_bins[first:])


def folds_of(candidates: int) -> list[slice]:
    """The five parts of so many candidates that are tested, each by what was learnt from all candidates before it.

    Equal to the test sets of scikit-learn's TimeSeriesSplit(5); of fewer than six candidates they are empty. The
    first sixth is never tested. Source: spec 2, step 12.
    """
    fold = candidates // (TEST_SPLITS + 1)
    starts = range(candidates - TEST_SPLITS * fold, candidates, fold) if fold else [candidates] * TEST_SPLITS
    return [slice(start, start + fold) for start in starts]


def candidate_reviews(table: RevlogTable, short: bool, secs: bool) -> BenchmarkKeys:
    """All reviews of a user that the benchmark could test, with their bins (spec 2, steps 1 to 11)."""
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
    """Steps 1 to 4: by (card, time), the first 128 of each card, same-day rows only if `short`."""
    row = np.argsort(table.card, kind="stable")
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
    """Step 9, first part: which rows remain once each group's rare second intervals are removed."""
    usable = np.ones(len(interval), bool)
    for rating in np.unique(first_rating):
        group = np.flatnonzero((repetition == 2) & (first_rating == rating))
        removed = _outlier_intervals(
            interval[group], longest=LONGEST_DAYS_AFTER_EASY if rating == _EASY else LONGEST_DAYS
        )
        usable[group[np.isin(interval[group], removed)]] = False
    return usable


def _outlier_intervals(interval: Ints, longest: int) -> list[int]:
    """The intervals to remove from one group: the rarest first, of equally rare ones the longest first."""
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
    """Step 9, second part: per card, the usable rows up to the first gap in `repetition`."""
    row = np.flatnonzero(usable)
    is_start = np.ones(len(row), bool)
    is_start[1:] = card[row[1:]] != card[row[:-1]]
    step = np.diff(repetition[row], prepend=0)
    broken = cumsum_by_group(((step != 1) & ~is_start).astype(np.int64), is_start)
    kept = np.zeros(len(card), bool)
    kept[row[broken == 0]] = True
    return kept


def rmse_bins(lapses: npt.ArrayLike, interval_days: npt.ArrayLike, repetition: npt.ArrayLike) -> Int32s:
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


def _power_below(x: npt.ArrayLike, base: float) -> Floats:
    """base ** floor(log_base(x))."""
    return np.power(base, np.floor(np.log(np.asarray(x, np.float64)) / np.log(base)))
