"""Draw a batch of simulated learners: traits, collections and study plans."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Float32s, Floats, Ints
from rwkv.data.simulate.collection import CardDraws, Collection, CollectionSizes, deck_counts, draw_collection
from rwkv.data.simulate.memory import MemoryTraits
from rwkv.data.simulate.moods import Moods, draw_moods
from rwkv.data.simulate.plans import draw_plans, draw_presets
from rwkv.data.simulate.population import VARIABLES, Person, draw_people
from rwkv.data.simulate.schedulers import Plans, Presets
from rwkv.data.simulate.sessions import Sessions, plan_sessions
from rwkv.data.simulate.shapes import bounds, failing_share, heavy, logit, sigmoid

# Irregularities of a learner's data (spec 1). Every fifth learner by number has one, in turn.
QUIRKS = (
    "cards missing",
    "years away",
    "decks missing",
    "no tables",
    "crammed card",
    "double clicks",
    "one review",
    "nothing twice",
    "one day",
)
_QUIRK_EVERY = 5

# Columns of a review's noise.
ORDER, RATING, DURATION, AWAY, DELAY, FUZZ = range(6)
_REVIEW_NOISE = 6

Number = TypeVar("Number", bound=np.floating)
Draw = Callable[[np.random.Generator, int], npt.NDArray[Number]]

_REVIEWS_PER_CARD = 7.0
_MOST_REVIEWS = 5_000_000
_TRAITS = 73

# Corrections with which fits of learners' histories, including other effects on recall, spread like those of people.
_FIRST_DAYS = np.array([0.46, 1.29, 3.7, 15.9])
_FIRST_SPREAD, _FIRST_SHARE = 1.2, 0.7
_MORE_GROWTH, _MORE_SATURATION = 0.1, 0.08
_FIRST_RANGE = (0.02, 400.0)

# Steady learners hardly forget and fail by slips. They are more frequent among people who recall much.
_STEADY_FROM, _STEADY_BY_RETENTION, _STEADY_LEVEL = 1.75, 0.5, 4.0
_USUAL_SLIPS, _MOST_SLIPS = 0.003, 0.3


@dataclass(frozen=True)
class Habits:
    """Study habits, one entry per user, such as the most reviews of a session and the log duration of an answer.

    Attributes:
        click_share: The share of double clicks.
        buries: Whether siblings wait for another session.
        order: 0 shuffled, 1 as introduced, 2 by due day, 3 by deck, 4 short intervals first, 5 long intervals first.
    """

    review_limit: Ints
    pace_log_ms: Floats
    duration_cap_ms: Floats
    click_share: Floats
    buries: Bools
    order: Ints


@dataclass(frozen=True)
class Learners:
    """A batch of learners: number and quirk ("" for most) of each, traits, plans and collections.

    Attributes:
        row_first: User k has at most row_first[k + 1] - row_first[k] reviews [users + 1].
        noise: Uniform random numbers of each review, float32 [rows, 6].
    """

    number: Ints
    quirk: npt.NDArray[np.str_]
    memory: MemoryTraits
    habits: Habits
    presets: Presets
    plans: Plans
    sessions: Sessions
    collection: Collection
    row_first: Ints
    noise: Float32s
    moods: Moods


@dataclass(frozen=True)
class _Sizes:
    """Sizes by user: reviews, planned sessions and cards, int64 [users]; new cards of a session, float64 [users]."""

    reviews: Ints
    sessions: Ints
    cards: Ints
    new_cards: Floats


def draw_learners(number: Ints, mean_reviews: int, spread: float, seed: int) -> Learners:
    """Draw the learners with the given numbers. Each depends only on its number and the other arguments."""
    rngs = [np.random.default_rng((seed, user)) for user in number]
    normal = np.stack([rng.standard_normal(_TRAITS + len(VARIABLES)) for rng in rngs])
    trait, person = iter(normal[:, :_TRAITS].T), draw_people(normal[:, _TRAITS:])
    has_quirk = number % _QUIRK_EVERY == _QUIRK_EVERY - 1
    quirk = np.where(has_quirk, np.array(QUIRKS)[number // _QUIRK_EVERY % len(QUIRKS)], "")

    sizes = _sizes(trait, person, quirk, mean_reviews, spread)
    decks = deck_counts(trait, person, quirk, sizes.cards)
    draws = CardDraws(
        uniform=_drawn(rngs, sizes.cards, lambda rng, n: rng.random((n, 4))),
        normal=_drawn(rngs, sizes.cards, lambda rng, n: rng.standard_normal((n, 3))),
        deck_uniform=_drawn(rngs, decks, lambda rng, n: rng.random((n, 5))),
    )
    session_u = _drawn(rngs, sizes.sessions, lambda rng, n: rng.random((n, 4)))
    session_z = _drawn(rngs, sizes.sessions, lambda rng, n: rng.standard_normal((n, 2)))
    noise = _drawn(rngs, sizes.reviews, lambda rng, n: rng.random((n, _REVIEW_NOISE), np.float32))
    sessions = plan_sessions(trait, quirk, sizes.sessions, session_u, session_z)
    collection_sizes = CollectionSizes(sizes.cards, decks, sizes.new_cards)
    return Learners(
        number=number,
        quirk=quirk,
        memory=_memory_traits(trait, person),
        habits=_habits(trait, quirk, sizes),
        presets=draw_presets(trait, person, quirk),
        plans=draw_plans(trait, person),
        sessions=sessions,
        collection=draw_collection(trait, person, quirk, sessions, collection_sizes, draws),
        row_first=bounds(sizes.reviews),
        noise=noise,
        moods=draw_moods(trait, rngs, sizes.reviews),
    )


def _drawn(rngs: list[np.random.Generator], counts: Ints, draw: Draw[Number]) -> npt.NDArray[Number]:
    """The concatenated draws of all users, each with its own generator."""
    return np.concatenate([draw(rng, n) for rng, n in zip(rngs, counts, strict=True)])


def _sizes(
    trait: Iterator[Floats], person: Person, quirk: npt.NDArray[np.str_], mean_reviews: int, spread: float
) -> _Sizes:
    log_size = spread * person.size_z - spread**2 / 2
    reviews = np.clip(np.rint(mean_reviews * np.exp(log_size)), 1, _MOST_REVIEWS).astype(np.int64)
    reviews = np.where(quirk == "one review", 1, reviews)
    reviews = np.where(quirk == "crammed card", np.maximum(reviews, 600), reviews)
    reviews = np.where(quirk == "one day", np.minimum(reviews, 600), reviews)

    usual_sessions = np.ceil(1.1 * reviews**0.55 * np.exp(0.4 * next(trait)))
    reviews_per_card = np.maximum(_REVIEWS_PER_CARD * np.exp(0.55 * next(trait)), 1.5)
    reviews_per_card[quirk == "nothing twice"] = 1
    reviews_per_card[quirk == "one day"] = 2
    new_cards = reviews / reviews_per_card / usual_sessions
    sessions = (2 * usual_sessions + 10).astype(np.int64)
    cards = np.minimum(np.ceil(new_cards * sessions).astype(np.int64), reviews)
    return _Sizes(reviews, sessions, cards, new_cards)


def _habits(trait: Iterator[Floats], quirk: npt.NDArray[np.str_], sizes: _Sizes) -> Habits:
    usual = 4 * np.exp(0.5 * next(trait)) * sizes.reviews / sizes.sessions
    return Habits(
        review_limit=np.maximum(8, usual).astype(np.int64),
        pace_log_ms=np.log(5500) + 0.5 * next(trait),
        duration_cap_ms=np.where(next(trait) > 1.2, 600_000.0, 60_000.0),
        click_share=np.where(quirk == "double clicks", 0.06, 0),
        buries=next(trait) > -0.3,
        order=np.clip(1.5 * next(trait) + 2.7, 0, 5.9).astype(np.int64),
    )


def _memory_traits(trait: Iterator[Floats], person: Person) -> MemoryTraits:
    steady = next(trait) + _STEADY_BY_RETENTION * person.retention_z > _STEADY_FROM
    level = 0.9 + 0.25 * person.retention_z + 0.7 * np.maximum(person.retention_z, 0) ** 2 + 0.15 * next(trait)
    two_buttons = next(trait) < -0.7
    hard, easy = _button(next(trait), next(trait), 0.5), _button(next(trait), next(trait), 0.45)
    return MemoryTraits(
        fsrs=_memory_parameters(person),
        curve_power=0.08 + 0.52 * sigmoid(1.3 * next(trait)),
        level=level + _STEADY_LEVEL * steady,
        ease_in_recall=heavy(next(trait), 0.65, 0.5),
        lapse_keeps=1 + 0.5 * next(trait),
        fade=heavy(next(trait), 0.18, 1.0) * ~steady,
        attention=_attention(trait, person, steady),
        growth_noise=heavy(next(trait), 0.22, 0.5),
        fast_days=0.12 * np.exp(0.5 * next(trait)),
        knowledge=0.2 + 1.3 * next(trait) + 0.5 * person.retention_z,
        priming=sigmoid(0.8 * next(trait) - 1.2),
        best_hour=12 + 4 * next(trait),
        rhythm=0.1 * np.abs(next(trait)),
        fatigue=0.15 * next(trait) + 0.05,
        hard=np.where(two_buttons[:, None], 0, hard),
        easy=np.where(two_buttons[:, None], 0, easy),
        fails_hard=np.where(next(trait) > 1.7, 0.7, np.where(next(trait) > 1, 0.08, 0)),
    )


def _memory_parameters(person: Person) -> Floats:
    """FSRS-5's parameters of the memory, corrected from those of fits, which also absorb other effects on recall."""
    w = person.fsrs.copy()
    first = _FIRST_DAYS * (w[:, :4] / _FIRST_DAYS) ** _FIRST_SPREAD
    w[:, :4] = np.clip(_FIRST_SHARE * first, *_FIRST_RANGE)
    w[:, 8] += _MORE_GROWTH
    w[:, 9] += _MORE_SATURATION
    return w


def _attention(trait: Iterator[Floats], person: Person, steady: Bools) -> Floats:
    """The logit of a right answer for a recalled card. Slips are all failures of steady learners, else few."""
    own = failing_share(person.average_loss) * np.exp(0.3 * next(trait))
    slips = np.where(steady, own, heavy(next(trait), _USUAL_SLIPS, 1.0))
    return -logit(np.minimum(slips, _MOST_SLIPS))


def _button(trait: Floats, change: Floats, most: float) -> Floats:
    """The preference for a button, [users, 2] before and after a change of habits; a fifth never use it."""
    both = np.stack((trait, trait + 0.7 * change), axis=1)
    return np.where(both < -0.85, 0, most * sigmoid(1.8 * both - 0.8))
