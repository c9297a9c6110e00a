"""The rungs that walk over cards: FSRS-5, SM-2 and the counts of DASH and HLR, against one card at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.fsrs5 import DEFAULT, first_state, next_difficulty, next_stability, recall_after
from rwkv.evaluation.realism.families import outcome_counts, window_counts
from rwkv.evaluation.realism.fsrs5 import CardWalk
from rwkv.evaluation.realism.histories import Histories, layers
from rwkv.evaluation.realism.sm2 import sm2_predictions

AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4

# Reviews as (card, rating, days since the card's previous review).
REVIEWS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.sampled_from([0, 1, 3, 20, 400])), max_size=40)


def histories(reviews: list[tuple[int, int, int]], user_of_card: tuple[int, ...] = (0,) * 5) -> Histories:
    """Histories in which all reviews but the first of each card are tested, one user after the other."""
    card, rating, days = np.array(reviews, np.int64).reshape(-1, 3).T
    user = np.array(user_of_card)[card]
    order = np.argsort(user, kind="stable")
    card, rating, days, user = card[order], rating[order], days[order], user[order]
    is_first = np.zeros(len(card), bool)
    is_first[np.unique(card, return_index=True)[1]] = True
    fold = np.where(is_first, -1, 1)
    days = np.where(is_first, 0, days)
    whole = Histories(max(user_of_card) + 1, user, card, rating, days, fold, np.zeros(len(card), np.int64))
    return whole.keep(np.ones(len(card), bool))


@given(st.lists(st.integers(0, 6), max_size=40))
def test_layers_are_first_then_second_reviews(cards: list[int]) -> None:
    card = np.unique(np.array(cards, np.int64), return_inverse=True)[1]
    by_layer = layers(card)
    assert sorted(np.concatenate([np.empty(0, np.int64), *by_layer]).tolist()) == list(range(len(card)))
    for number, rows in enumerate(by_layer):
        assert [np.sum(card[:row] == card[row]) for row in rows] == [number] * len(rows)
        if number:
            np.testing.assert_array_equal(card[rows], card[by_layer[number - 1]][: len(rows)])


@given(REVIEWS)
def test_fsrs5_equals_its_formulas_card_by_card(reviews: list[tuple[int, int, int]]) -> None:
    """Two learners with separate parameters; a walk over all cards equals a walk over each card."""
    walked = histories(reviews, (0, 1, 0, 1, 1))
    w = np.stack((DEFAULT, DEFAULT * np.linspace(0.9, 1.1, 19)))
    ours = CardWalk(walked).recall(torch.from_numpy(w)).numpy()
    for card in np.unique(walked.card):
        rows = np.flatnonzero(walked.card == card)
        own = w[walked.user[rows[:1]]]
        stability, difficulty = first_state(own, walked.rating[rows[:1]])
        assert math.isnan(ours[rows[0]])
        for row in rows[1:]:
            days, rating = walked.days[row : row + 1].astype(float), walked.rating[row : row + 1]
            recall = recall_after(days, stability)
            assert ours[row] == pytest.approx(recall[0], rel=1e-9)
            stability = next_stability(own, stability, difficulty, rating, recall, days < 1)
            difficulty = next_difficulty(own, difficulty, rating)


def test_fsrs5_by_hand() -> None:
    """Good, Good after 3 days, Again after 10 days, by the published formulas."""
    card = histories([(0, GOOD, 0), (0, GOOD, 3), (0, AGAIN, 10), (0, GOOD, 2)])
    ours = CardWalk(card).recall(torch.from_numpy(DEFAULT)[None]).numpy()
    stability, difficulty = 3.173, 7.1949 - math.exp(0.5345 * 2) + 1
    first = (1 + 19 / 81 * 3 / stability) ** -0.5
    growth = math.exp(1.54575) * (11 - difficulty) * stability**-0.1192 * (math.exp(1.01925 * (1 - first)) - 1)
    stability *= 1 + growth
    second = (1 + 19 / 81 * 10 / stability) ** -0.5
    easy = 7.1949 - math.exp(0.5345 * 3) + 1
    difficulty = 0.0046 * easy + 0.9954 * difficulty
    lapsed = 1.9395 * difficulty**-0.11 * ((stability + 1) ** 0.29605 - 1) * math.exp(2.2698 * (1 - second))
    third = (1 + 19 / 81 * 2 / lapsed) ** -0.5
    np.testing.assert_allclose(ours[1:], [first, second, third], rtol=1e-9)


def test_fsrs5_has_a_gradient_for_every_parameter() -> None:
    """Against finite differences in float64."""
    reviews = [(0, r, d) for r, d in zip((3, 3, 2, 4, 1, 3), (0, 4, 9, 30, 60, 0), strict=True)]
    cards = histories(
        [*reviews, (1, 2, 0), (1, 1, 0), (1, 3, 3), (2, 1, 0), (2, 3, 1), (3, 4, 0), (3, 3, 9), (0, 3, 8)]
    )
    walk = CardWalk(cards)

    def total(w: torch.Tensor) -> torch.Tensor:
        return walk.recall(w).nan_to_num(0).sum()

    w = torch.tensor(DEFAULT[None] * 1.01, requires_grad=True)
    assert torch.autograd.gradcheck(total, w, eps=1e-6, atol=1e-6)
    total(w).backward()
    assert w.grad is not None
    assert torch.all(w.grad != 0)


def test_sm2_by_hand() -> None:
    """Good, Good, Good gives 1, 6 and 15 days (factor 2.5); a lapse restarts; same-day reviews are ignored."""
    card = histories([(0, GOOD, 0), (0, AGAIN, 0), (0, GOOD, 2), (0, GOOD, 3), (0, AGAIN, 30), (0, GOOD, 4)])
    card = replace(card, fold=np.array([-1, -1, 1, 1, 1, 1]))
    np.testing.assert_allclose(sm2_predictions(card), [0.9**2, 0.9 ** (3 / 6), 0.9 ** (30 / 15), 0.9**4])


def test_sm2_ease() -> None:
    """Easy adds 0.1 to the ease, Hard subtracts 0.14, Again 0.32, as the third interval shows."""
    for rating, ease in ((EASY, 2.6), (HARD, 2.36)):
        card = histories([(0, rating, 0), (0, GOOD, 1), (0, GOOD, 6), (0, GOOD, 10)])
        assert sm2_predictions(card)[-1] == pytest.approx(0.9 ** (10 / round(6 * ease)))
    lapsed = histories([(0, AGAIN, 0), (0, GOOD, 1), (0, GOOD, 1), (0, GOOD, 6), (0, GOOD, 10)])
    assert sm2_predictions(lapsed)[-1] == pytest.approx(0.9 ** (10 / round(6 * 2.18)))


@given(REVIEWS)
def test_counts_are_those_of_the_cards_earlier_reviews(reviews: list[tuple[int, int, int]]) -> None:
    walked = histories(reviews)
    outcomes, windows = outcome_counts(walked), window_counts(walked)
    for row in range(len(walked)):
        before = [other for other in range(row) if walked.card[other] == walked.card[row]]
        outcome = [bool(walked.rating[other] > 1) for other in before]
        assert outcomes[row].tolist() == [sum(outcome), len(outcome) - sum(outcome)]
        since = [
            sum(walked.days[i] for i in range(other + 1, row + 1) if walked.card[i] == walked.card[row])
            for other in before
        ]
        for window, days in enumerate((1, 7, 30, math.inf)):
            near = [recalled for recalled, gap in zip(outcome, since, strict=True) if gap <= days]
            assert windows[row, 2 * window : 2 * window + 2].tolist() == [len(near), sum(near)]
