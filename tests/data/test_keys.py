"""Benchmark keys against a plain rendering of the specification (spec 2), one card and one review at a time."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from rwkv.data.history import RevlogTable
from rwkv.data.keys import benchmark_keys, candidate_reviews, rmse_bins
from tests.helpers import SECONDS_PER_DAY, Columns, make_table, random_revlog, revlog_columns, tables

SETTINGS = [(False, False), (True, False), (False, True), (True, True)]
ALL_SETTINGS = pytest.mark.parametrize(("short", "secs"), SETTINGS)


@dataclass
class Row:
    """A review, and what the steps find of it."""

    card: int
    review_th: int
    rating: int
    elapsed_days: int
    t_days: int
    t_secs: float
    n: int = 0
    lapses: int = 0
    first_rating: int = 0
    t: float = 0
    i: int = 0
    bin: tuple[float, float, float] = (0, 0, 0)


def plain_candidates(table: RevlogTable, short: bool, secs: bool) -> list[Row]:
    """Steps 1 to 11 as the specification words them. Each row has its bin's triple."""
    cards: dict[int, list[Row]] = defaultdict(list)
    for card, review_th, rating, days, seconds in zip(
        table.card, table.review_th, table.rating, table.elapsed_days, table.elapsed_s, strict=True
    ):
        if len(cards[card]) < 128:
            t_days, t_secs = max(0, int(days)), max(0, int(seconds) / SECONDS_PER_DAY)
            cards[card].append(Row(int(card), int(review_th), int(rating), int(days), t_days, t_secs))
    rows: list[Row] = []
    for card_rows in cards.values():
        remaining = card_rows if short else [row for row in card_rows if row.elapsed_days != 0]
        lapses = 0
        for n, row in enumerate(remaining, start=1):
            row.n, row.lapses, row.first_rating = n, lapses, remaining[0].rating
            row.t = row.t_secs if secs else row.t_days
            lapses += row.rating == 1 and (secs or row.t_days > 0)
        i = 1
        for row in remaining:
            if not short or row.t != 0 or row.n == 1:
                i += row.elapsed_days > 0
                row.i = i
                rows.append(row)
    if not secs:
        rows = plain_without_outliers(rows)
    candidates = sorted((row for row in rows if row.t > 0), key=lambda row: row.review_th)
    for row in candidates:
        row.bin = plain_bin(row.lapses, row.t, row.i)
    return candidates


def plain_without_outliers(rows: list[Row]) -> list[Row]:
    """Step 9."""
    removed_values = set()
    for first_rating in (1, 2, 3, 4):
        group = [row.t for row in rows if row.i == 2 and row.first_rating == first_rating]
        removed = 0
        for t, count in sorted(Counter(group).items(), key=lambda item: (item[1], -item[0])):
            few = removed + count < max(0.05 * len(group), 20)
            if few or count < 6 or t > (365 if first_rating == 4 else 100):
                removed_values.add((first_rating, t))
                removed += count
    rows = [row for row in rows if row.i != 2 or (row.first_rating, row.t) not in removed_values]
    if not any(row.i == 2 for row in rows):
        return []
    continuous: list[Row] = []
    before: dict[int, int | None] = {}
    for row in rows:
        previous = before.get(row.card, row.i - 1)
        if previous is None or row.i != previous + 1:
            before[row.card] = None
            continue
        before[row.card] = row.i
        continuous.append(row)
    return continuous


def plain_bin(lapses: float, t: float, i: float) -> tuple[float, float, float]:
    """Step 11."""
    lapse_bin = 0 if lapses == 0 else round(1.65 * 1.73 ** math.floor(math.log(lapses) / math.log(1.73)), 0)
    t_bin = round(2.48 * 3.62 ** math.floor(math.log(t) / math.log(3.62)), 2)
    return lapse_bin, t_bin, round(1.99 * 1.89 ** math.floor(math.log(i) / math.log(1.89)), 0)


def plain_keys(table: RevlogTable, short: bool, secs: bool) -> list[Row]:
    """Step 12, with scikit-learn itself."""
    candidates = plain_candidates(table, short, secs)
    if len(candidates) < 6:
        return []
    return [candidates[i] for _, test in TimeSeriesSplit(n_splits=5).split(candidates) for i in test]


def assert_keys(table: RevlogTable, short: bool, secs: bool) -> int:
    """Compare with the plain rendering; returns the number of keys."""
    expected = plain_keys(table, short, secs)
    ours = benchmark_keys(table, short, secs)
    assert ours.review_ths.tolist() == [row.review_th for row in expected]
    assert ours.review_ths.dtype == ours.rmse_bins.dtype == np.int32
    pairs = set(zip(ours.rmse_bins.tolist(), (row.bin for row in expected), strict=True))
    assert len(pairs) == len({number for number, _ in pairs}) == len({triple for _, triple in pairs})
    return len(ours)


@ALL_SETTINGS
@given(table=tables())
def test_small_histories(short: bool, secs: bool, table: RevlogTable) -> None:
    assert_keys(table, short, secs)


@ALL_SETTINGS
@given(seed=st.integers(0, 10**6), reviews=st.integers(100, 900), cards=st.integers(1, 250))
def test_longer_histories(short: bool, secs: bool, seed: int, reviews: int, cards: int) -> None:
    assert_keys(make_table(random_revlog(seed, reviews, cards)), short, secs)


@ALL_SETTINGS
def test_histories_in_which_every_step_matters(short: bool, secs: bool) -> None:
    """Enough cards at few intervals that outliers are removed, kept, and cut sequences short."""
    result = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        cards = 150
        starts = rng.integers(0, 20, cards) * SECONDS_PER_DAY
        first = rng.choice([0, 1, 2, 3, 5, 120, 400], cards, p=[0.1, 0.3, 0.2, 0.15, 0.05, 0.1, 0.1])
        gaps = np.concatenate([first[:, None], rng.choice([0, 1, 4, 9], (cards, 4))], axis=1) * SECONDS_PER_DAY
        times = np.concatenate(
            [starts[:, None], starts[:, None] + np.cumsum(gaps + rng.integers(0, 99), axis=1)], axis=1
        )
        order = np.argsort(times, axis=None, kind="stable")
        card = np.repeat(np.arange(cards), times.shape[1])[order]
        columns = revlog_columns(card, times.ravel()[order], rng.choice([1, 3, 4], len(card), p=[0.2, 0.4, 0.4]))
        result += assert_keys(make_table(columns), short, secs)
    assert result > 100


def daily(card_id: int, reviews: int, rating: int = 3, start_day: int = 0) -> tuple[list[int], list[int], list[int]]:
    """(card ids, times, ratings) of one card reviewed once a day."""
    times = [(start_day + day) * SECONDS_PER_DAY for day in range(reviews)]
    return [card_id] * reviews, times, [rating] * reviews


def test_rows_beyond_a_cards_128_do_not_count() -> None:
    table = make_table(revlog_columns(*daily(1, 140)))
    candidates = candidate_reviews(table, short=True, secs=True)
    assert candidates.review_ths.tolist() == list(range(2, 129))


def test_same_day_reviews_count_towards_the_128() -> None:
    """The 128 are counted before same-day reviews are dropped."""
    times = [0] * 100 + [day * SECONDS_PER_DAY for day in range(1, 51)]
    table = make_table(revlog_columns([1] * 150, times))
    candidates = candidate_reviews(table, short=False, secs=True)
    assert candidates.review_ths.tolist() == list(range(101, 129))


@pytest.mark.parametrize("secs", [False, True])
def test_fewer_than_six_candidates_give_no_keys(secs: bool) -> None:
    for reviews in range(1, 8):
        table = make_table(revlog_columns(*daily(1, reviews)))
        expected = 5 if secs and reviews == 7 else 0
        assert len(benchmark_keys(table, short=True, secs=secs)) == expected


def test_the_last_five_sixths_are_tested() -> None:
    for candidates in range(6, 31):
        table = make_table(revlog_columns(*daily(1, candidates + 1)))
        keys = benchmark_keys(table, short=True, secs=True)
        assert keys.review_ths.tolist() == list(range(2, candidates + 2))[-5 * (candidates // 6) :]


@pytest.mark.parametrize(("secs", "lapses_counted"), [(False, 0), (True, 1)])
def test_an_again_on_the_day_of_the_first_review_is_a_lapse_only_with_secs(secs: bool, lapses_counted: int) -> None:
    """Cards differ only in the rating of their first review; their second ones share a bin iff it is no lapse."""
    columns = revlog_columns(list(range(60)) * 2, [0] * 60 + [SECONDS_PER_DAY] * 60, [1, 3] * 30 + [3] * 60)
    candidates = candidate_reviews(make_table(columns), short=True, secs=secs)
    assert len(candidates) == 60
    assert len(np.unique(candidates.rmse_bins)) == 1 + lapses_counted


def outlier_history(first_rating: int, days_and_counts: dict[int, int]) -> Columns:
    """Cards seen twice: for each interval in days, as many as given."""
    intervals = [days for days, count in days_and_counts.items() for _ in range(count)]
    seconds = sorted((days * SECONDS_PER_DAY, card) for card, days in enumerate(intervals))
    cards = list(range(len(intervals))) + [card for _, card in seconds]
    times = [0] * len(intervals) + [time for time, _ in seconds]
    return revlog_columns(cards, times, [first_rating] * len(intervals) + [3] * len(intervals))


@pytest.mark.parametrize(
    ("first_rating", "days_and_counts", "kept_days"),
    [
        (3, {1: 100, 2: 19}, {1}),  # fewer than 20 in all go
        (3, {1: 100, 2: 20}, {1, 2}),  # 20 would reach the limit
        (3, {1: 500, 2: 24}, {1}),  # 5 % of 524 is more than 20
        (3, {1: 100, 2: 15, 3: 5}, {1, 2}),  # the rarest first: 5, then 5 + 15 is not below 20
        (3, {1: 100, 2: 18, 3: 5}, {1, 2}),
        (3, {1: 100, 2: 10, 3: 10}, {1, 2}),  # of equally rare ones the longest first
        (3, {1: 100, 101: 50}, {1}),  # too long
        (3, {1: 100, 100: 50}, {1, 100}),
        (4, {1: 100, 365: 50}, {1, 365}),  # longer after Easy
        (4, {1: 100, 366: 50}, {1}),
        (3, {1: 100, 2: 19, 3: 5}, {1, 2}),
        (1, {day: 5 for day in range(1, 40)}, set()),  # fewer than 6 each
    ],
)
def test_rare_second_intervals_are_removed(
    first_rating: int, days_and_counts: dict[int, int], kept_days: set[int]
) -> None:
    table = make_table(outlier_history(first_rating, days_and_counts))
    candidates = candidate_reviews(table, short=False, secs=False)
    kept = table.elapsed_days[np.isin(table.review_th, candidates.review_ths)]
    assert set(kept.tolist()) == kept_days
    assert len(candidates) == sum(days_and_counts[day] for day in kept_days)
    assert len(candidate_reviews(table, short=False, secs=True)) == sum(days_and_counts.values())


def test_a_removed_second_review_cuts_its_card() -> None:
    """After the outlier is gone, i jumps from 1 to 3: the card's later reviews do not count."""
    intervals = [1] * 30 + [50]
    cards, times = list(range(31)) * 3, []
    for step in range(3):
        times += [step * days * SECONDS_PER_DAY for days in intervals]
    order = np.argsort(times, kind="stable")
    table = make_table(revlog_columns(np.array(cards)[order], np.array(times)[order]))
    candidates = candidate_reviews(table, short=False, secs=False)
    rare = table.card[np.isin(table.review_th, candidates.review_ths)]
    assert len(candidates) == 60
    assert 30 not in rare


def test_keys_are_review_ths_not_row_numbers() -> None:
    columns = revlog_columns(*daily(1, 13))
    shifted = make_table(columns, review_th=np.arange(1, 14) * 10)
    keys = benchmark_keys(shifted, short=True, secs=True)
    assert keys.review_ths.tolist() == [10 * review_th for review_th in range(4, 14)]
    assert keys.mark(shifted.review_th).sum() == len(keys) == 10


@ALL_SETTINGS
def test_users_who_never_repeat_a_card_have_no_keys(short: bool, secs: bool) -> None:
    table = make_table(revlog_columns(list(range(50)), np.arange(50) * 3600))
    assert len(benchmark_keys(table, short, secs)) == 0


def test_a_lost_beginning_counts_from_the_second_repetition() -> None:
    """A card whose first row already has an interval starts with i = 2, in the bin of second repetitions."""
    columns = revlog_columns([1, 2, 1], [0, 0, SECONDS_PER_DAY])
    columns["elapsed_days"], columns["elapsed_seconds"] = np.array([-1, 1, 1]), np.array([-1, 86400, 86400])
    candidates = candidate_reviews(make_table(columns), short=True, secs=True)
    assert candidates.review_ths.tolist() == [2, 3]
    assert candidates.rmse_bins.tolist() == [0, 0]


def test_bins_are_numbered_by_appearance() -> None:
    assert rmse_bins([0, 0, 1, 0], [5, 1, 5, 5], [2, 2, 2, 2]).tolist() == [0, 1, 2, 0]
    assert rmse_bins([], [], []).tolist() == []


@given(
    st.lists(
        st.tuples(st.integers(0, 127), st.integers(1, 10**9), st.integers(1, 128)),
        min_size=1,
        max_size=60,
    )
)
def test_bins_are_those_of_the_specification(rows: list[tuple[int, int, int]]) -> None:
    lapses, seconds, repetition = np.array(rows).T
    days = seconds / SECONDS_PER_DAY
    ours = rmse_bins(lapses, days, repetition).tolist()
    triples = [plain_bin(*row) for row in zip(lapses.tolist(), days.tolist(), repetition.tolist(), strict=True)]
    pairs = set(zip(ours, triples, strict=True))
    assert len(pairs) == len(set(ours)) == len(set(triples))
