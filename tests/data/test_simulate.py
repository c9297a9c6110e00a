"""Simulated learners: one consistent timeline, calibrated truth, every quirk (spec 1), reproducible from a seed."""

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv.data.simulate import SimulatedUser, draw_learners, histories, simulate_users
from rwkv.data.simulate.learners import QUIRKS
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

COLUMNS = ("card_id", "day_offset", "rating", "state", "duration", "elapsed_days", "elapsed_seconds")

# A bin's share may leave its mean probability by so many standard errors; with 30 bins 4 is rare by chance (0.2 %).
STANDARD_ERRORS = 4


@pytest.fixture(scope="module")
def population() -> list[SimulatedUser]:
    """Users of whom every quirk has at least one."""
    return list(simulate_users(50, 600, seed=11))


def quirky(population: list[SimulatedUser], quirk: str) -> SimulatedUser:
    return next(
        user for user in population if user.user % 5 == 4 and user.user // 5 % len(QUIRKS) == QUIRKS.index(quirk)
    )


def ordinary(population: list[SimulatedUser]) -> list[SimulatedUser]:
    return [user for user in population if user.user % 5 != 4]


def assert_same(one: SimulatedUser, other: SimulatedUser) -> None:
    for field in fields(SimulatedUser):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def recalled(user: SimulatedUser) -> npt.NDArray[np.bool_]:
    return user.rating > 1


def seconds_since_first(user: SimulatedUser) -> npt.NDArray[np.int64]:
    """Of each review, since its card's first review, from elapsed_seconds alone."""
    total = np.zeros(len(user.rating), np.int64)
    for card in np.unique(user.card_id):
        rows = np.flatnonzero(user.card_id == card)
        total[rows[1:]] = np.cumsum(user.elapsed_seconds[rows[1:]])
    return total


def has_one_timeline(user: SimulatedUser) -> bool:
    """Whether some time of each card's first review puts all rows in order and each on its day.

    The earliest such times are found by raising lower bounds until they agree (Bellman-Ford on difference constraints).
    """
    _, card = np.unique(user.card_id, return_inverse=True)
    since = seconds_since_first(user)
    earliest = np.full(card.max() + 1, -SECONDS_PER_DAY)
    np.maximum.at(earliest, card, user.day_offset * SECONDS_PER_DAY - since)
    for _ in range(len(earliest) + 1):
        before = earliest.copy()
        np.maximum.at(earliest, card[1:], (earliest[card] + since)[:-1] - since[1:])
        if np.array_equal(before, earliest):
            return bool(np.all(earliest[card] + since < (user.day_offset + 1) * SECONDS_PER_DAY))
    return False


def check_user(user: SimulatedUser) -> None:
    """What holds for every simulated user."""
    rows = len(user.rating)
    assert rows >= 1
    for name in COLUMNS:
        column = getattr(user, name)
        assert column.dtype == np.int64, name
        assert column.shape == (rows,), name
    assert np.isin(user.rating, (1, 2, 3, 4)).all()
    assert np.isin(user.state, (0, 1, 2, 3, 4)).all()
    assert (user.duration >= 0).all()
    assert (np.diff(user.day_offset) >= 0).all()
    is_first = np.zeros(rows, bool)
    is_first[np.unique(user.card_id, return_index=True)[1]] = True
    assert (user.state[is_first] == 0).all()  # and after a reset
    np.testing.assert_array_equal(user.elapsed_days == -1, is_first)
    np.testing.assert_array_equal(user.elapsed_seconds == -1, is_first)
    assert (user.elapsed_seconds >= -1).all()
    for card in np.unique(user.card_id):
        of_card = user.card_id == card
        np.testing.assert_array_equal(user.elapsed_days[of_card][1:], np.diff(user.day_offset[of_card]))
    assert has_one_timeline(user)

    assert user.truth.dtype == np.float64
    assert user.truth.shape == (rows, 4)
    np.testing.assert_allclose(user.truth.sum(axis=1), 1, atol=1e-12)
    assert (user.truth >= 0).all()
    assert (user.truth[np.arange(rows), user.rating - 1] > 0).all()
    assert tuple(user.cards) == ("card_id", "note_id", "deck_id")
    assert tuple(user.decks) == ("deck_id", "parent_id", "preset_id")
    for table in (user.cards, user.decks):
        assert all(column.dtype == np.int64 for column in table.values())
        key = next(iter(table.values()))
        assert all(column.shape == key.shape for column in table.values())
        assert len(np.unique(key)) == len(key)
    assert np.isin(user.cards["card_id"], user.card_id).all()


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 3), reviews=st.integers(1, 80), seed=st.integers(0, 2**40), first_user=st.integers(1, 60))
def test_every_user_is_a_valid_history(users: int, reviews: int, seed: int, first_user: int) -> None:
    simulated = list(simulate_users(users, reviews, seed, first_user))
    assert [user.user for user in simulated] == list(range(first_user, first_user + users))
    for user in simulated:
        check_user(user)


def test_the_population_is_valid(population: list[SimulatedUser]) -> None:
    for user in population:
        check_user(user)


def test_a_seed_gives_the_same_users() -> None:
    for one, other in zip(simulate_users(6, 100, seed=3), simulate_users(6, 100, seed=3), strict=True):
        assert_same(one, other)
    one, other = (next(simulate_users(1, 100, seed)) for seed in (3, 4))
    assert len(one.rating) != len(other.rating) or not np.array_equal(one.truth, other.truth)


@pytest.mark.parametrize("first_user", [1, 4, 37])
def test_a_user_does_not_depend_on_the_others(population: list[SimulatedUser], first_user: int) -> None:
    for user in simulate_users(3, 600, seed=11, first_user=first_user):
        assert_same(user, population[user.user - 1])


def test_forgotten_cards_do_not_depend_on_other_users() -> None:
    """Users before this one put its cards at other places of the batch."""
    users = simulate_users(100, 300, seed=3, first_user=101)
    alone = next(user for user in users if ((user.state == 0) & (user.elapsed_seconds >= 0)).any())  # new again
    for before in (1, 2, 3):
        *_, user = simulate_users(1 + before, 300, seed=3, first_user=alone.user - before)
        assert_same(user, alone)


def test_steady_learners_fail_by_slips() -> None:
    """Their failures do not become more frequent with time, while those of others do."""
    learners = draw_learners(np.arange(1, 101), mean_reviews=600, spread=1.0, seed=5)
    steady = learners.memory.fade == 0
    assert 3 < steady.sum() < 30
    failing: dict[bool, list[list[float]]] = {True: [], False: []}
    for user, is_steady in zip(histories(learners), steady.tolist(), strict=True):
        spans = [(user.elapsed_days >= low) & (user.elapsed_days < high) for low, high in ((1, 5), (30, 10_000))]
        if min(span.sum() for span in spans) >= 20:
            failing[is_steady].append([user.truth[span, 0].mean() for span in spans])
    for is_steady, shares in failing.items():
        soon, late = np.mean(shares, axis=0)
        assert (late < 1.2 * soon) == is_steady, (is_steady, soon, late)


def test_truth_is_calibrated(population: list[SimulatedUser]) -> None:
    """Ratings are drawn from the truth: in each bin their share agrees with the mean probability."""
    truth = np.concatenate([user.truth for user in population])
    rating = np.concatenate([user.rating for user in population])
    for column in range(4):
        p, y = truth[:, column], rating == column + 1
        for low in np.arange(0, 1, 0.1):
            inside = (p > low) & (p <= low + 0.1)
            if inside.sum() < 100:
                continue
            error = abs(y[inside].mean() - p[inside].mean())
            assert error < STANDARD_ERRORS * np.sqrt(np.mean(p[inside] * (1 - p[inside])) / inside.sum()), (column, low)


def test_the_true_recall_beats_the_mean(population: list[SimulatedUser]) -> None:
    """Knowing the truth beats knowing the user's mean recall clearly, at a retention as real learners have it."""
    gains, retentions = [], []
    for user in ordinary(population):
        later = user.elapsed_days > 0
        y, p = recalled(user)[later], 1 - user.truth[later, 0]
        mean = np.full(len(y), y.mean())
        log_loss = [-np.mean(np.log(np.where(y, q, 1 - q))) for q in (mean, p)]
        gains.append(log_loss[0] - log_loss[1])
        retentions.append(y.mean())
    assert np.mean(gains) > 0.05
    assert 0.8 < np.mean(retentions) < 0.9


def test_sizes_differ_around_the_wanted_mean() -> None:
    sizes = [len(user.rating) for user in simulate_users(300, 100, seed=2)]
    assert 85 < np.mean(sizes) < 120
    assert np.percentile(sizes, 90) > 3 * np.percentile(sizes, 10)


def test_siblings_share_notes_and_decks(population: list[SimulatedUser]) -> None:
    notes = [user.cards["note_id"] for user in ordinary(population)]
    assert sum(len(np.unique(note)) for note in notes) < 0.9 * sum(len(note) for note in notes)
    assert any(len(np.unique(user.cards["deck_id"])) > 1 for user in population)
    assert any(len(np.unique(user.decks["preset_id"])) > 1 for user in population)


def test_the_first_users_are_ordinary() -> None:
    for user in simulate_users(3, 200, seed=1):
        np.testing.assert_array_equal(np.unique(user.card_id), user.cards["card_id"])
        assert np.isin(user.cards["deck_id"], user.decks["deck_id"]).all()
        assert np.diff(user.day_offset).max() < 365
        assert user.day_offset[-1] > 0


def test_quirk_cards_missing(population: list[SimulatedUser]) -> None:
    quirky_users = [user for user in simulate_users(200, 600, seed=11) if user.user % 45 == 4]
    shares = [1 - len(user.cards["card_id"]) / len(np.unique(user.card_id)) for user in quirky_users]
    assert 0.1 < np.mean(shares) < 0.25
    assert len(quirky(population, "cards missing").cards["card_id"]) > 0


def test_quirk_decks_missing(population: list[SimulatedUser]) -> None:
    user = quirky(population, "decks missing")
    is_known = np.isin(user.cards["deck_id"], user.decks["deck_id"])
    assert not is_known.all()
    assert len(user.decks["deck_id"]) > 0


def test_quirk_no_tables(population: list[SimulatedUser]) -> None:
    user = quirky(population, "no tables")
    assert all(len(column) == 0 for table in (user.cards, user.decks) for column in table.values())


def test_quirk_years_away(population: list[SimulatedUser]) -> None:
    assert np.diff(quirky(population, "years away").day_offset).max() >= 400


def test_quirk_crammed_card(population: list[SimulatedUser]) -> None:
    _, counts = np.unique(quirky(population, "crammed card").card_id, return_counts=True)
    assert counts.max() >= 200


def test_quirk_double_clicks(population: list[SimulatedUser]) -> None:
    assert np.sum(quirky(population, "double clicks").elapsed_seconds == 0) >= 3


def test_quirk_one_review(population: list[SimulatedUser]) -> None:
    assert len(quirky(population, "one review").rating) == 1


def test_quirk_nothing_twice(population: list[SimulatedUser]) -> None:
    user = quirky(population, "nothing twice")
    assert len(user.rating) > 1
    assert (user.elapsed_days == -1).all()


def test_quirk_one_day(population: list[SimulatedUser]) -> None:
    user = quirky(population, "one day")
    assert len(user.rating) > 1
    assert (user.day_offset == 0).all()


@pytest.mark.parametrize(
    "arguments", [(0, 10, 1, 1), (1, 0, 1, 1), (1, 10, -1, 1), (1, 10, 1, 0)], ids=["users", "reviews", "seed", "first"]
)
def test_invalid_numbers_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError):
        simulate_users(*arguments)
