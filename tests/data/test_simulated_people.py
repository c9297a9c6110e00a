"""What simulated histories have in common with those of people: each feature occurs, and shows in the reviews."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rwkv.arrays import Floats
from rwkv.data.simulate import Learners, SimulatedUser, draw_learners, histories
from rwkv.data.simulate.schedulers import FILTERED, FIXED, FSRS, NEVER, NEW, SM2

AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4
COLUMNS = ("card_id", "day_offset", "rating", "state", "duration", "elapsed_days", "elapsed_seconds")


@pytest.fixture(scope="module")
def drawn() -> Learners:
    return draw_learners(np.arange(1, 301), mean_reviews=400, spread=0.7, seed=6)


@pytest.fixture(scope="module")
def users(drawn: Learners) -> list[SimulatedUser]:
    return list(histories(drawn))


def by_user(drawn: Learners, column: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """A column of the sessions [sessions], split by user."""
    return np.split(column, drawn.sessions.first[1:-1])


def attentive(drawn: Learners) -> Learners:
    """Learners without carelessness, who call no failure Hard."""
    is_careless = np.zeros_like(drawn.moods.is_careless)
    memory = replace(drawn.memory, fails_hard=np.zeros_like(drawn.memory.fails_hard))
    return replace(drawn, moods=replace(drawn.moods, is_careless=is_careless), memory=memory)


# --- Schedulers


def test_schedulers_see_only_answers(drawn: Learners) -> None:
    """If answers do not depend on the memory, histories do not either, though the memories differ."""
    careless = replace(drawn, moods=replace(drawn.moods, is_careless=np.ones_like(drawn.moods.is_careless)))
    memory, collection = careless.memory, careless.collection
    other = replace(
        careless,
        memory=replace(memory, fsrs=memory.fsrs[::-1], level=-3 - memory.level, curve_power=memory.curve_power[::-1]),
        collection=replace(collection, ease=-collection.ease),
    )
    for one, changed in zip(histories(careless), histories(other), strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name), getattr(changed, name))


def test_every_scheduler_occurs(drawn: Learners) -> None:
    """FSRS has default parameters, those of the learner nearly, or wrong ones."""
    shares = [np.mean(drawn.plans.kind[:, 0] == kind) for kind in (SM2, FSRS, FIXED)]
    assert all(
        0.5 * expected < share < 1.5 * expected for share, expected in zip(shares, (0.66, 0.27, 0.07), strict=True)
    )
    fsrs = drawn.plans.fsrs
    has_default = (fsrs == fsrs[np.argmax((fsrs[:, None] == fsrs).all(2).sum(1))]).all(1)
    assert 0.2 < has_default.mean() < 0.5
    off = np.abs(np.log(fsrs[:, 8] / (drawn.memory.fsrs[:, 8] - 0.1)))[~has_default]
    assert (off < 0.1).mean() > 0.4
    assert (off > 0.15).mean() > 0.05


def test_leeches_are_suspended(drawn: Learners) -> None:
    """After the second lapse here; double clicks and cramming go on."""
    presets = replace(drawn.presets, leech_lapses=np.full_like(drawn.presets.leech_lapses, 2))
    suspended = 0
    for user, quirk in zip(histories(replace(drawn, presets=presets)), drawn.quirk, strict=True):
        if quirk in ("double clicks", "crammed card"):
            continue
        is_lapse = (user.state == 2) & (user.rating == AGAIN)
        for card in np.unique(user.card_id[is_lapse]):
            lapses = np.flatnonzero(is_lapse[user.card_id == card])
            if len(lapses) >= 2:
                assert lapses[1] == np.sum(user.card_id == card) - 1
                suspended += 1
    assert suspended > 50
    assert set(np.unique(drawn.presets.leech_lapses)) == {8, 100}


# --- Days and sessions


def test_cramming_before_a_date(drawn: Learners, users: list[SimulatedUser]) -> None:
    """Cards that are not due are reviewed in filtered decks, more a session than usual, and only before a date."""
    has_exam = np.array([ahead.any() for ahead in by_user(drawn, drawn.sessions.ahead_days)])
    filtered = np.array([(user.state == FILTERED).sum() for user in users])
    assert 0.1 < has_exam.mean() < 0.3
    # The second click of a double one counts as early, too.
    assert filtered[~has_exam & (drawn.quirk != "double clicks")].sum() == 0
    assert (filtered[has_exam] > 0).mean() > 0.7
    more = []
    for user in np.array(users, object)[(filtered > 20) & (drawn.quirk == "")]:
        days, reviews = np.unique(user.day_offset, return_counts=True)
        crammed = np.isin(days, user.day_offset[user.state == FILTERED])
        more.append(reviews[crammed].mean() / reviews[~crammed].mean())
    assert len(more) > 15
    assert np.median(more) > 1.5


def test_cards_are_reset_once(drawn: Learners, users: list[SimulatedUser]) -> None:
    """As after an import without scheduling: half of the cards are new again, of a few learners."""
    has_reset = np.array([resets.any() for resets in by_user(drawn, drawn.sessions.resets)])
    is_new_again = [(user.state == NEW) & (user.elapsed_seconds >= 0) for user in users]
    # A card whose first answer is clicked twice stays new as well.
    usual = (drawn.quirk != "double clicks") & (drawn.quirk != "crammed card")
    assert 0.01 < has_reset.mean() < 0.08
    assert not any(again.any() for again in np.array(is_new_again, object)[usual & ~has_reset])
    shares = []
    for user, again in zip(users, is_new_again, strict=True):
        if again.any():
            first_day = user.day_offset[again].min()
            before = np.unique(user.card_id[user.day_offset < first_day])
            shares.append(len(np.unique(user.card_id[again])) / max(1, len(before)))
    assert len(shares) > 3
    assert 0.2 < np.mean(shares) < 0.6


def test_years_away(drawn: Learners, users: list[SimulatedUser]) -> None:
    """And months, of many."""
    longest = np.array([np.diff(user.day_offset, prepend=0).max() for user in users])
    assert (longest[drawn.quirk == "years away"] > 365).all()
    assert (longest[drawn.quirk == ""] > 30).mean() > 0.3


def test_habits_change(drawn: Learners) -> None:
    """A third of the learners begins to use other buttons, and some then schedule by FSRS."""
    changes = np.array([habit.any() for habit in by_user(drawn, drawn.sessions.habit)])
    assert all((np.diff(habit) >= 0).all() for habit in by_user(drawn, drawn.sessions.habit))
    assert 0.25 < changes.mean() < 0.45
    kind = drawn.plans.kind
    assert (kind[:, 0] != kind[:, 1])[changes].any()
    hard = np.zeros_like(drawn.memory.hard)
    hard[:, 1] = 0.5
    people = attentive(drawn)
    people = replace(people, memory=replace(people.memory, hard=hard))
    pressed = 0
    for user, habit, day in zip(
        histories(people), by_user(drawn, drawn.sessions.habit), by_user(drawn, drawn.sessions.day), strict=True
    ):
        first_day = day[habit == 1][0] if habit.any() else NEVER
        assert (user.day_offset[user.rating == HARD] >= first_day).all()
        pressed += int((user.rating == HARD).sum())
    assert pressed > 500


def test_days_end(drawn: Learners) -> None:
    """No timeline is longer than 80 years, so that times and elapsed seconds stay far from overflow."""
    many = draw_learners(np.arange(1, 3001), mean_reviews=60, spread=1.5, seed=7)
    assert drawn.sessions.day.max() < 30_000
    assert many.sessions.day.max() < 30_000
    assert many.sessions.day.min() == 0


# --- Answers


def test_two_button_users(drawn: Learners, users: list[SimulatedUser]) -> None:
    uses_two = (drawn.memory.hard.sum(1) == 0) & (drawn.memory.easy.sum(1) == 0)
    assert 0.15 < uses_two.mean() < 0.4
    for user, has_two in zip(histories(attentive(drawn)), uses_two, strict=True):
        if has_two:
            assert set(np.unique(user.rating)) <= {AGAIN, GOOD}
    assert np.mean([{AGAIN, HARD, GOOD, EASY} <= set(user.rating) for user in users]) > 0.3


def test_hard_is_a_fail_for_some(drawn: Learners, users: list[SimulatedUser]) -> None:
    """For them Hard is more frequent than Again."""
    often = drawn.memory.fails_hard > 0.5
    assert 0.02 < often.mean() < 0.1
    shares = [np.mean(user.rating == HARD) / max(1e-3, np.mean(user.rating == AGAIN)) for user in users]
    assert np.median(np.array(shares)[often]) > 1.5
    assert np.median(np.array(shares)[~often]) < 0.5


def test_careless_stretches(drawn: Learners, users: list[SimulatedUser]) -> None:
    """Some learners press Good for a while, whatever they recall, and fast."""
    shares = np.array([x.mean() for x in np.split(drawn.moods.is_careless, drawn.row_first[1:-1])])
    assert 0.03 < (shares > 0).mean() < 0.15
    careless, others = [], []
    for user in np.array(users, object)[shares > 0.05]:
        is_careless = user.truth[:, GOOD - 1] == 0.96
        careless.append(np.median(user.duration[is_careless]))
        others.append(np.median(user.duration[~is_careless]))
    assert len(careless) > 5
    assert np.mean(np.array(careless) < 0.5 * np.array(others)) > 0.9


def test_waves_of_luck(drawn: Learners) -> None:
    """Neighbours in a session share them, reviews of another month do not."""
    waves = [wave for wave in np.split(drawn.moods.wave, drawn.row_first[1:-1]) if len(wave) > 500]
    near, far = ([np.corrcoef(wave[:-lag], wave[lag:])[0, 1] for wave in waves] for lag in (1, 450))
    assert len(waves) > 50
    assert np.median(near) > 0.8
    assert abs(np.median(far)) < 0.2


def test_the_form_of_a_day_differs(drawn: Learners) -> None:
    """With a spread that differs between learners."""
    spreads = [np.std(form) for form in by_user(drawn, drawn.sessions.form) if len(form) > 20]
    low, high = np.percentile(spreads, [10, 90])
    assert 0.05 < low < 0.5 * high


def test_form_walks_over_months(drawn: Learners) -> None:
    """Sessions of one week are more alike than those of different months."""
    changes = []
    for form in by_user(drawn, drawn.sessions.form):
        if len(form) > 60:
            changes.append([np.mean((form[lag:] - form[:-lag]) ** 2) for lag in (1, 40)])
    near, far = np.array(changes).T
    assert len(changes) > 50
    assert np.median(far / near) > 1.3


# --- Collections


def test_decks_are_easy_or_hard(drawn: Learners, users: list[SimulatedUser]) -> None:
    """A few far more than others; their cards fail less or more."""
    collection = drawn.collection
    ease = np.bincount(collection.deck, collection.ease) / np.maximum(1, np.bincount(collection.deck))
    large = np.bincount(collection.deck) >= 10
    assert (ease[large] > 1).any()
    assert (ease[large] < -1).any()
    lower: list[Floats] = []
    upper: list[Floats] = []
    for number, user in enumerate(users):
        own = collection.ease[collection.first[number] :][user.card_id - 1]
        later = user.elapsed_days > 0
        for outer, fails in ((own < -0.5, lower), (own > 0.5, upper)):
            fails.append(user.truth[later & outer, 0])
    assert np.concatenate(lower).mean() > 1.5 * np.concatenate(upper).mean()


def test_numbers_of_notes_and_presets(drawn: Learners) -> None:
    """Some learners have a note for each card, others for two; some have several presets."""
    collection = drawn.collection
    shares, presets = [], []
    for first, last in zip(collection.first[:-1], collection.first[1:], strict=True):
        if last - first >= 30:
            shares.append(len(np.unique(collection.note[first:last])) / (last - first))
            presets.append(len(np.unique(collection.preset[first:last])))
    low, middle, high = np.percentile(shares, [10, 50, 95])
    assert low < 0.75 < middle < 0.97 < high
    assert 0.1 < np.mean(np.array(presets) > 1) < 0.5


def test_sizes_follow_the_spread() -> None:
    """Log-normal around the mean; with a spread of 1.4, as people's, from hundreds to hundreds of thousands."""
    learners = draw_learners(np.arange(1, 401), mean_reviews=100, spread=1.4, seed=8)
    log_sizes: Floats = np.log(np.diff(learners.row_first)[learners.quirk == ""])
    assert log_sizes.std() == pytest.approx(1.4, abs=0.15)
    assert np.exp(log_sizes.max() - log_sizes.min()) > 1000
