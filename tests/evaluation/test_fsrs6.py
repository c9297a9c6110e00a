"""FSRS-6 against its formulas and against its authors' packages."""

import math
from datetime import UTC, datetime, timedelta

import fsrs_rs_python
import numpy as np
import pytest
from fsrs import Card, Rating, Scheduler
from fsrs import scheduler as package
from fsrs.scheduler import LOWER_BOUNDS_PARAMETERS, UPPER_BOUNDS_PARAMETERS
from hypothesis import given
from hypothesis import strategies as st

from rwkv.evaluation.fsrs6 import (
    DEFAULT_PARAMETERS,
    STABILITY_MIN,
    fsrs_predictions,
    interval_by_stability,
    recall_by_stability,
    stabilities,
)

W = DEFAULT_PARAMETERS
AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4


def test_the_constants_are_those_of_the_package() -> None:
    assert package.DEFAULT_PARAMETERS == DEFAULT_PARAMETERS
    assert package.STABILITY_MIN == STABILITY_MIN


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 5, 400])), min_size=1, max_size=15),
    st.floats(0.7, 0.99),
)
def test_intervals_are_those_of_the_trainers_package(reviews: list[tuple[int, int]], retention: float) -> None:
    """Its numbers are float32."""
    ratings, gaps = (list(column) for column in zip(*reviews, strict=True))
    gaps[0] = 0
    scheduler = fsrs_rs_python.FSRS(list(W))
    item = fsrs_rs_python.FSRSItem([fsrs_rs_python.FSRSReview(*pair) for pair in zip(ratings, gaps, strict=True)])
    (state,) = scheduler.memory_state_batch([item])
    ours = stabilities([5] * len(ratings), ratings, np.cumsum(gaps))[-1:]
    np.testing.assert_allclose(ours, [state.stability], rtol=1e-4)
    expected = scheduler.next_interval(state.stability, retention, GOOD)
    np.testing.assert_allclose(interval_by_stability(ours, np.array([retention])), [expected], rtol=2e-4)


# --- The formulas of FSRS-6, as its authors publish them


def recall(elapsed_days: int, stability: float) -> float:
    factor = 0.9 ** (1 / -W[20]) - 1
    return (1 + factor * elapsed_days / stability) ** -W[20]


def first_difficulty(rating: int) -> float:
    return W[4] - math.exp(W[5] * (rating - 1)) + 1


def next_difficulty(difficulty: float, rating: int) -> float:
    damped = difficulty - W[6] * (rating - 3) * (10 - difficulty) / 9
    return min(max(W[7] * first_difficulty(EASY) + (1 - W[7]) * damped, 1), 10)


def next_stability(stability: float, difficulty: float, elapsed_days: int, rating: int) -> float:
    if elapsed_days == 0:
        growth = math.exp(W[17] * (rating - 3 + W[18])) * stability ** -W[19]
        return stability * (growth if rating == AGAIN else max(growth, 1))
    p = recall(elapsed_days, stability)
    if rating == AGAIN:
        forgotten = W[11] * difficulty ** -W[12] * ((stability + 1) ** W[13] - 1) * math.exp(W[14] * (1 - p))
        return min(forgotten, stability / math.exp(W[17] * W[18]))
    growth = math.exp(W[8]) * (11 - difficulty) * stability ** -W[9] * (math.exp(W[10] * (1 - p)) - 1)
    return stability * (1 + growth * {HARD: W[15], GOOD: 1, EASY: W[16]}[rating])


def written_out(ratings: list[int], days: list[int]) -> list[float]:
    """The predictions of one card by the formulas."""
    p = [math.nan]
    stability, difficulty = W[ratings[0] - 1], min(max(first_difficulty(ratings[0]), 1), 10)
    for before, day, rating in zip(days, days[1:], ratings[1:], strict=False):
        p.append(recall(day - before, stability))
        stability = max(next_stability(stability, difficulty, day - before, rating), 0.001)
        difficulty = next_difficulty(difficulty, rating)
    return p


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 0, 1, 2, 3, 10, 60, 700])), min_size=1, max_size=15))
def test_fsrs_follows_its_formulas(reviews: list[tuple[int, int]]) -> None:
    ratings, gaps = (list(column) for column in zip(*reviews, strict=True))
    days = np.cumsum(gaps).tolist()
    ours = fsrs_predictions([5] * len(days), ratings, days)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, written_out(ratings, days), rtol=1e-5)


NOW = datetime(2000, 1, 1, tzinfo=UTC)
PARAMETERS = st.tuples(*map(st.floats, LOWER_BOUNDS_PARAMETERS, UPPER_BOUNDS_PARAMETERS))


def by_the_package(ratings: list[int], days: list[int], parameters: tuple[float, ...]) -> tuple[list[float], Card]:
    """The package's predictions of one card, and the card's final state."""
    scheduler = Scheduler(parameters, learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    card = Card(card_id=1, due=NOW)
    p: list[float] = []
    for rating, day in zip(ratings, days, strict=True):
        now = NOW + timedelta(days=day)
        p.append(scheduler.get_card_retrievability(card, now) if p else math.nan)
        card, _ = scheduler.review_card(card, Rating(rating), now)
    return p, card


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 5, 400])), min_size=1, max_size=15), PARAMETERS)
def test_fsrs_equals_the_package(reviews: list[tuple[int, int]], parameters: tuple[float, ...]) -> None:
    ratings, gaps = (list(column) for column in zip(*reviews, strict=True))
    days = np.cumsum(gaps).tolist()
    expected, card = by_the_package(ratings, days, parameters)
    ours = fsrs_predictions([5] * len(days), ratings, days, parameters)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)  # float32
    scheduler = Scheduler(parameters)
    later = scheduler.get_card_retrievability(card, NOW + timedelta(days=days[-1] + 30))
    assert recall_by_stability([card.stability or 0], [30], parameters) == pytest.approx([later], rel=1e-12)


@pytest.mark.parametrize("rating", [AGAIN, HARD, GOOD, EASY])
def test_fsrs_after_one_review_predicts_by_the_first_stability(rating: int) -> None:
    ours = fsrs_predictions([1, 1], [rating, GOOD], [100, 107])
    assert math.isnan(ours[0])
    assert ours[1] == pytest.approx((1 + (0.9 ** (-1 / W[20]) - 1) * 7 / W[rating - 1]) ** -W[20], rel=1e-6)


def test_fsrs_cards_are_independent() -> None:
    rng = np.random.default_rng(3)
    card, rating, day = rng.integers(0, 6, 200), rng.integers(1, 5, 200), np.sort(rng.integers(0, 300, 200))
    together = fsrs_predictions(card, rating.astype(np.int8), day)
    for number in range(6):
        mine = card == number
        np.testing.assert_array_equal(together[mine], fsrs_predictions(card[mine], rating[mine], day[mine]))
    np.testing.assert_array_equal(together, fsrs_predictions(card, rating, day + 20_000))
    assert np.isnan(together).sum() == 6


def test_fsrs_takes_other_parameters() -> None:
    other = [*W[:2], 5.0, *W[3:]]
    before, after = (fsrs_predictions([1, 1], [GOOD, GOOD], [0, 9], parameters)[1] for parameters in (W, other))
    assert after == pytest.approx((1 + (0.9 ** (-1 / W[20]) - 1) * 9 / 5) ** -W[20], rel=1e-6)
    assert after > before


def test_fsrs_survives_clocks_that_jump() -> None:
    """Intervals beyond a hundred years are clipped."""
    far = fsrs_predictions([1, 1, 1], [GOOD, GOOD, GOOD], [0, 2**31, 2**33])
    near = fsrs_predictions([1, 1, 1], [GOOD, GOOD, GOOD], [0, 36_500, 73_000])
    np.testing.assert_array_equal(far, near)
    assert 0 < far[1] < far[2] < 1


def test_fsrs_without_reviews() -> None:
    assert len(fsrs_predictions([], [], [])) == 0
