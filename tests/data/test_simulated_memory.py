"""The memory of simulated learners: the direction, and where it is simple the size, of each effect on recall."""

from dataclasses import fields, replace

import numpy as np
import pytest

from rwkv.arrays import Floats
from rwkv.data.fsrs5 import DEFAULT
from rwkv.data.simulate.memory import DAY_MS, Memory, MemoryTraits, Moment, Recall

AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4
HOUR_MS = DAY_MS // 24
# Two cards of one note, and a third one alone. Each user of a pair differs in one trait.
NOTES = np.array([0, 0, 1])
FIRST, SIBLING, ALONE = 0, 1, 2
RECALL_LIMIT = 20.0


def traits(**changes: float | list[float] | Floats) -> MemoryTraits:
    """Traits of two users without any effect but `changes`, in which a number is for both."""
    plain = MemoryTraits(**{field.name: np.zeros(2) for field in fields(MemoryTraits)})
    neutral: dict[str, Floats] = {
        "fsrs": np.broadcast_to(np.asarray(DEFAULT), (2, 19)).copy(),
        "curve_power": np.full(2, 0.5),
        "attention": np.full(2, RECALL_LIMIT),
        "fast_days": np.full(2, 1e-3),
        "hard": np.zeros((2, 2)),
        "easy": np.zeros((2, 2)),
    }
    changed = {name: np.broadcast_to(value, neutral.get(name, np.zeros(2)).shape) for name, value in changes.items()}
    return replace(plain, **neutral | changed)


def moment(time_ms: float, position: int = 0, mood: float = 0, habit: int = 0, careless: bool = False) -> Moment:
    return Moment(
        np.full(2, time_ms).astype(np.int64),
        np.full(2, position),
        np.full(2, mood),
        np.full(2, habit),
        np.full(2, careless),
    )


class Pair:
    """Two users with separate memories, who do the same at the same time."""

    def __init__(self, traits: MemoryTraits, ease: float = 0) -> None:
        count = len(NOTES)
        notes = np.concatenate([NOTES, NOTES + NOTES.max() + 1])
        self._memory, self._count = Memory(traits, notes, np.full(2 * count, ease)), count

    def asked(self, card: int, at: Moment) -> Recall:
        return self._memory.recall(card + self._count * np.arange(2), np.arange(2), at)

    def recall(self, card: int, at: Moment) -> Floats:
        return 1 - self.asked(card, at).rating_p[:, 0]

    def answer(self, card: int, rating: int, at: Moment, luck: float = 0) -> None:
        cards, users = card + self._count * np.arange(2), np.arange(2)
        before = self._memory.recall(cards, users, at)
        self._memory.learn(cards, users, at.time_ms, np.full(2, rating), before, np.full(2, luck))


def learnt(traits: MemoryTraits, ease: float = 0) -> Pair:
    """A pair that knew the cards FIRST and ALONE at noon of day 0."""
    pair = Pair(traits, ease)
    for card in (FIRST, ALONE):
        pair.answer(card, GOOD, moment(DAY_MS / 2))
    return pair


def logit(p: Floats) -> Floats:
    return np.log(p / (1 - p))


NOON_LATER = 10.5 * DAY_MS


# --- Effects on recall


@pytest.mark.parametrize(
    ("change", "at", "difference"),
    [
        ({"fatigue": [0, 0.4]}, moment(NOON_LATER, position=60), -0.4),
        ({"fatigue": [0, 0.4]}, moment(NOON_LATER, position=30), -0.2),
        ({"fatigue": [0, 0.4]}, moment(NOON_LATER, position=500), -0.8),
        ({"rhythm": [0, 0.3], "best_hour": 12}, moment(NOON_LATER), 0.3),
        ({"rhythm": [0, 0.3], "best_hour": 12}, moment(NOON_LATER + 6 * HOUR_MS), 0.0),
        ({"rhythm": [0, 0.3], "best_hour": 12}, moment(NOON_LATER + 12 * HOUR_MS), -0.3),
        ({"level": [0, 0.7]}, moment(NOON_LATER), 0.7),
        ({"fade": [0, 0.5]}, moment(NOON_LATER), -0.5 * np.log(2)),
    ],
)
def test_effects_on_the_logit(change: dict[str, list[float]], at: Moment, difference: float) -> None:
    """Of a card that was learnt ten days ago."""
    without, with_effect = logit(learnt(traits(**change)).recall(ALONE, at))
    assert with_effect - without == pytest.approx(difference, abs=1e-6)


def test_a_mood_is_added_to_the_logit() -> None:
    pair = learnt(traits())
    plain, glad = (logit(pair.recall(ALONE, moment(NOON_LATER, mood=mood))) for mood in (0, 0.6))
    np.testing.assert_allclose(glad - plain, 0.6, atol=1e-6)


def test_the_exponent_shapes_forgetting() -> None:
    """At the stability recall is 90% with any exponent; far beyond it, a large one forgets more."""
    pair = learnt(traits(curve_power=[0.08, 0.6]))
    # A Good also strengthens the note by a twentieth, and one percent are slips.
    stability_days = DEFAULT[2] * np.exp(0.05)
    at_stability = pair.recall(ALONE, moment(DAY_MS / 2 + stability_days * DAY_MS)) / 0.99
    np.testing.assert_allclose(at_stability, 0.9, atol=1e-6)
    small, large = pair.recall(ALONE, moment(DAY_MS / 2 + 100 * stability_days * DAY_MS))
    assert small > large + 0.1


def test_knowledge_of_new_cards() -> None:
    unknown, known = Pair(traits(knowledge=[-2, 2])).recall(ALONE, moment(0))
    np.testing.assert_allclose([logit(unknown), logit(known)], [-2, 2], atol=1e-6)


def test_easy_cards_are_recalled_better() -> None:
    """New ones, and those that were learnt."""
    for learn in (Pair, learnt):
        hard, easy = (learn(traits(ease_in_recall=0.5), ease).recall(ALONE, moment(NOON_LATER)) for ease in (-1, 1))
        assert (easy > hard + 0.1).all()


def test_a_recent_review_of_a_sibling_helps() -> None:
    """Less after days; other notes do not."""
    pair = Pair(traits(priming=[0, 0.5], knowledge=-1))
    pair.answer(FIRST, GOOD, moment(0))
    soon, late = (pair.recall(SIBLING, moment(days * DAY_MS)) for days in (0.01, 6))
    alone = pair.recall(ALONE, moment(0.01 * DAY_MS))
    assert soon[1] > late[1] + 0.1 > late[0] + 0.1
    assert soon[0] == late[0] == alone[0] == alone[1]


def test_lapses_of_a_sibling_weaken_a_note() -> None:
    after = {}
    for rating in (AGAIN, EASY):
        pair = learnt(traits())
        for day in (1, 2, 3):
            pair.answer(SIBLING, rating, moment(day * DAY_MS))
        after[rating] = pair.recall(FIRST, moment(NOON_LATER))
    assert (after[EASY] > after[AGAIN] + 0.01).all()


def test_slips_fail_recalled_cards() -> None:
    """Even just after they were learnt."""
    attentive, slipping = learnt(traits(attention=[RECALL_LIMIT, 2], level=6)).recall(ALONE, moment(0.6 * DAY_MS))
    assert slipping == pytest.approx(attentive / (1 + np.exp(-2)), rel=1e-6)


def test_gains_of_stability_have_noise() -> None:
    recalls = []
    for luck in (-1, 0, 1):
        pair = learnt(traits(growth_noise=[0, 0.5]))
        pair.answer(ALONE, GOOD, moment(NOON_LATER), luck)
        recalls.append(pair.recall(ALONE, moment(100 * DAY_MS)))
    unlucky, usual, lucky = recalls
    assert unlucky[0] == usual[0] == lucky[0]
    assert unlucky[1] < usual[1] < lucky[1]


# --- Answers


def test_two_buttons() -> None:
    """Without preferences there is only Again and Good; with them all four, and other ones after a change of habits."""
    hard, easy = (np.array([[0, 0], share]) for share in ([0.3, 0], [0, 0.4]))
    pair = learnt(traits(hard=hard, easy=easy))
    for habit, (is_hard, is_easy) in enumerate([(True, False), (False, True)]):
        two, own = pair.asked(ALONE, moment(NOON_LATER, habit=habit)).rating_p
        assert (two[1], two[3]) == (0, 0)
        assert (own[1] > 0.05, own[3] > 0.05) == (is_hard, is_easy)
        assert own[0] == two[0]
        np.testing.assert_allclose([own.sum(), two.sum()], 1)


def test_hard_as_a_fail() -> None:
    """A share of the failures is called Hard."""
    plain, called_hard = learnt(traits(fails_hard=[0, 0.7])).asked(ALONE, moment(NOON_LATER)).rating_p
    np.testing.assert_allclose(called_hard[:2], [0.3 * plain[0], 0.7 * plain[0]])
    np.testing.assert_allclose(called_hard[2:], plain[2:])


def test_careless_answers_do_not_depend_on_recall() -> None:
    pair = learnt(traits(level=[-5, 5]))
    one, other = pair.asked(ALONE, moment(NOON_LATER, careless=True)).rating_p
    np.testing.assert_array_equal(one, other)
    assert one[GOOD - 1] > 0.9
