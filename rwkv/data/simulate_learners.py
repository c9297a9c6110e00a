"""Who learns: the traits, collections and study plans of a batch of simulated learners."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.data.simulate_memory import DAY_MS, Floats, Ints, MemoryTraits
from rwkv.data.simulate_schedule import NEVER, Bools, Presets

# What can be odd about a learner's data (spec 1). Every fifth learner has one, in turn, by number.
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

NO_PARENT = -1
MAX_DECKS = 6
_MAX_PRESETS = 4
_CRAM_DECK, _CRAM_PRESET = MAX_DECKS - 1, _MAX_PRESETS - 1
_CRAM_STEPS = 1_000_000

# Columns of the noise of each review.
ORDER, RATING, DURATION, AWAY, DELAY, FUZZ = range(6)
_REVIEW_NOISE = 6

_SIZE_SPREAD = 0.7
_REVIEWS_PER_CARD = 7.5
_HOUR_MS = DAY_MS // 24
_TRAITS = 35


@dataclass(frozen=True)
class Habits:
    """One entry a user: most reviews in a session, log of the usual duration, its cap, share of double clicks."""

    review_limit: Ints
    pace_log_ms: Floats
    duration_cap_ms: Floats
    click_share: Floats


@dataclass(frozen=True)
class Sessions:
    """Planned sessions, those of one user contiguous, user k's at first[k] to first[k + 1].

    day, start_ms: int64, from the rollover of day 0. form: logit of that day's recall.
    """

    first: Ints
    day: Ints
    start_ms: Ints
    form: Floats


@dataclass(frozen=True)
class Collection:
    """Cards of a batch of users in the order in which they are introduced, user k's at first[k] to first[k + 1].

    note, preset: numbered across the batch. deck: 0 to MAX_DECKS - 1. due_day: when the card is introduced.
    listed: has a row in `cards`. deck_parent, deck_preset, deck_listed: [users, MAX_DECKS].
    """

    first: Ints
    note: Ints
    deck: Ints
    preset: Ints
    listed: Bools
    difficulty: Floats
    due_day: Ints
    deck_parent: Ints
    deck_preset: Ints
    deck_listed: Bools


@dataclass(frozen=True)
class Learners:
    """A batch of learners: number and quirk ("" for most) of each, and what they are, do and have.

    row_first: user k makes at most row_first[k + 1] - row_first[k] reviews. noise: float32 uniforms [rows, 6], a row a
    review.
    """

    number: Ints
    quirk: npt.NDArray[np.str_]
    memory: MemoryTraits
    habits: Habits
    presets: Presets
    sessions: Sessions
    collection: Collection
    row_first: Ints
    noise: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Sizes:
    """reviews, sessions (planned at most) and cards: int64 [users]; new_cards: a session, float64 [users]."""

    reviews: Ints
    sessions: Ints
    cards: Ints
    new_cards: Floats


def draw_learners(number: Ints, mean_reviews: int, seed: int) -> Learners:
    """Draw the learners of the given numbers; each depends on its number, `mean_reviews` and `seed` alone."""
    rngs = [np.random.default_rng((seed, user)) for user in number]
    trait = iter(np.stack([rng.standard_normal(_TRAITS) for rng in rngs], axis=1))
    has_quirk = number % _QUIRK_EVERY == _QUIRK_EVERY - 1
    quirk = np.where(has_quirk, np.array(QUIRKS)[number // _QUIRK_EVERY % len(QUIRKS)], "")

    sizes = _sizes(trait, quirk, mean_reviews)
    session_u = np.concatenate([rng.random((n, 4)) for rng, n in zip(rngs, sizes.sessions, strict=True)])
    card_u = np.concatenate([rng.random((n, 4)) for rng, n in zip(rngs, sizes.cards, strict=True)])
    card_z = np.concatenate([rng.standard_normal((n, 2)) for rng, n in zip(rngs, sizes.cards, strict=True)])
    noise = [rng.random((n, _REVIEW_NOISE), np.float32) for rng, n in zip(rngs, sizes.reviews, strict=True)]
    sessions = _sessions(trait, quirk, sizes, session_u)
    return Learners(
        number=number,
        quirk=quirk,
        memory=_memory_traits(trait),
        habits=_habits(trait, quirk, sizes),
        presets=_presets(trait, quirk),
        sessions=sessions,
        collection=_collection(trait, quirk, sizes, sessions, card_u, card_z),
        row_first=bounds(sizes.reviews),
        noise=np.concatenate(noise),
    )


def bounds(counts: Ints) -> Ints:
    """Where each of consecutive groups begins, and the last ends: int64 [n + 1] from counts [n]."""
    return np.concatenate(([0], np.cumsum(counts)))


def _sizes(trait: Iterator[Floats], quirk: npt.NDArray[np.str_], mean_reviews: int) -> _Sizes:
    log_size = _SIZE_SPREAD * next(trait) - _SIZE_SPREAD**2 / 2
    reviews = np.maximum(1, np.rint(mean_reviews * np.exp(log_size))).astype(np.int64)
    reviews = np.where(quirk == "one review", 1, reviews)
    reviews = np.where(quirk == "crammed card", np.maximum(reviews, 600), reviews)
    reviews = np.where(quirk == "one day", np.minimum(reviews, 600), reviews)

    usual_sessions = np.ceil(1.1 * reviews**0.55 * np.exp(0.25 * next(trait)))
    reviews_per_card = _REVIEWS_PER_CARD * np.exp(0.3 * next(trait))
    reviews_per_card[quirk == "nothing twice"] = 1
    reviews_per_card[quirk == "one day"] = 2
    new_cards = reviews / reviews_per_card / usual_sessions
    sessions = (2 * usual_sessions + 10).astype(np.int64)
    cards = np.minimum(np.ceil(new_cards * sessions).astype(np.int64), reviews)
    return _Sizes(reviews, sessions, cards, new_cards)


def _sessions(trait: Iterator[Floats], quirk: npt.NDArray[np.str_], sizes: _Sizes, uniform: Floats) -> Sessions:
    """Days with pauses and breaks of months, some days with a second session in the evening."""
    user = np.repeat(np.arange(len(quirk)), sizes.sessions)
    first = bounds(sizes.sessions)
    index = np.arange(len(user)) - first[user]
    lazy = 0.7 * np.exp(0.6 * next(trait))[user]
    twice_share = _sigmoid(1.2 * next(trait) - 2)[user]
    break_share = (np.exp(0.7 * next(trait)) / (0.5 * sizes.sessions + 20))[user]
    usual_hour = (9 + 3 * next(trait))[user]

    gap_days = 1 + np.floor(lazy * -np.log1p(-uniform[:, 0])).astype(np.int64)
    has_break = uniform[:, 1] < break_share
    gap_days += has_break * (20 + 160 * uniform[:, 1] / break_share).astype(np.int64)
    is_gap_of_years = (index % np.maximum(4, sizes.sessions // 6)[user] == 3) & (quirk == "years away")[user]
    gap_days += is_gap_of_years * (400 + 1100 * uniform[:, 1]).astype(np.int64)
    wants_second = (uniform[:, 2] < twice_share) & (index > 0)
    is_second = wants_second & ~np.concatenate(([False], wants_second[:-1]))
    gap_days[is_second | (index == 0) | (quirk == "one day")[user]] = 0
    total_days = np.cumsum(gap_days)
    day = total_days - total_days[first[user]]

    hour = np.clip(usual_hour, 1, 15) + 0.3 * _logit(uniform[:, 2]) + 5 * is_second
    hour = np.where((quirk == "one day")[user], 1 + 10 * index / sizes.sessions[user], np.clip(hour, 0.2, 21))
    start_ms = day * DAY_MS + (hour * _HOUR_MS).astype(np.int64)
    return Sessions(first, day, start_ms, form=0.18 * _logit(uniform[:, 3]))


def _collection(
    trait: Iterator[Floats],
    quirk: npt.NDArray[np.str_],
    sizes: _Sizes,
    sessions: Sessions,
    uniform: Floats,
    normal: Floats,
) -> Collection:
    user = np.repeat(np.arange(len(quirk)), sizes.cards)
    first = bounds(sizes.cards)
    index = np.arange(len(user)) - first[user]
    decks = 1 + np.minimum(np.abs(2.5 * next(trait)), MAX_DECKS - 2).astype(np.int64)
    presets = 1 + np.minimum(np.abs(1.2 * next(trait)), _MAX_PRESETS - 2).astype(np.int64)
    sibling_share = np.minimum(0.25 * np.abs(next(trait)), 0.6)
    deck_preset = np.arange(MAX_DECKS) % presets[:, None]
    deck_preset[:, _CRAM_DECK] = _CRAM_PRESET
    deck_normal = np.stack([next(trait) for _ in range(MAX_DECKS)], axis=1)

    root = _first_siblings(uniform[:, 0] < sibling_share[user], uniform[:, 1], index)
    deck = (decks[user] * uniform[root, 2] ** 1.5).astype(np.int64)
    deck[(quirk == "crammed card")[user] & (index == 0)] = _CRAM_DECK
    missing_share = np.where(quirk == "cards missing", 0.15 + 0.04 * _sigmoid(next(trait)), 0)
    session = (index / sizes.new_cards[user]).astype(np.int64)
    is_planned = session < sizes.sessions[user]
    due_day = sessions.day[sessions.first[user] + np.where(is_planned, session, 0)]
    return Collection(
        first=first,
        note=(np.cumsum(root == np.arange(len(root))) - 1)[root],
        deck=deck,
        preset=deck_preset[user, deck] + _MAX_PRESETS * user,
        listed=uniform[:, 3] >= missing_share[user],
        difficulty=0.4 * deck_normal[user, deck] + 0.6 * normal[root, 0] + 0.85 * normal[:, 1],
        due_day=np.where(is_planned, due_day, NEVER),
        deck_parent=np.where(deck_normal > 0.3, (np.arange(MAX_DECKS) - 1) // 2, NO_PARENT),
        deck_preset=deck_preset,
        deck_listed=(quirk != "decks missing")[:, None] | (np.arange(MAX_DECKS) % 2 == 1),
    )


def _first_siblings(is_sibling: Bools, lag: Floats, index: Ints) -> Ints:
    """The first card of each card's note, int64 [cards]: a sibling belongs to the note of a card shortly before it."""
    cards = np.arange(len(index))
    back = 1 + (12 * lag**2).astype(np.int64)
    root = np.where(is_sibling & (back <= index), cards - back, cards)
    while np.any(root[root] != root):
        root = root[root]
    return root


def _habits(trait: Iterator[Floats], quirk: npt.NDArray[np.str_], sizes: _Sizes) -> Habits:
    return Habits(
        review_limit=np.maximum(8, 4 * sizes.reviews // sizes.sessions),
        pace_log_ms=np.log(5500) + 0.4 * next(trait),
        duration_cap_ms=np.where(next(trait) > 1.2, 600_000.0, 60_000.0),
        click_share=np.where(quirk == "double clicks", 0.06, 0),
    )


def _memory_traits(trait: Iterator[Floats]) -> MemoryTraits:
    return MemoryTraits(
        curve_power=np.clip(0.35 * np.exp(0.4 * next(trait)), 0.1, 1),
        ability=0.5 + 0.4 * next(trait),
        growth=1.8 * np.exp(0.3 * next(trait)),
        fast_days=0.12 * np.exp(0.5 * next(trait)),
        lapse_kept=0.6 * np.exp(0.2 * next(trait)),
        knowledge=0.4 + 0.8 * next(trait),
        priming=_sigmoid(0.5 * next(trait) - 0.8),
        best_hour=12 + 4 * next(trait),
        rhythm=0.2 * np.abs(next(trait)),
        fatigue=0.35 * np.exp(0.4 * next(trait)),
        hard=_button(next(trait), 0.3),
        easy=_button(next(trait), 0.35),
    )


def _button(trait: Floats, most: float) -> Floats:
    """How gladly Hard or Easy is used; a fifth of the learners never do."""
    return np.where(trait < -0.85, 0, most * _sigmoid(1.5 * trait - 0.5))


def _presets(trait: Iterator[Floats], quirk: npt.NDArray[np.str_]) -> Presets:
    """Options of _MAX_PRESETS presets a user; one that crams has endless learning steps."""
    base = np.stack([next(trait) for _ in range(4)])
    shift = np.arange(_MAX_PRESETS) - 1
    steps, delay, interval, lapse = (base[:, :, None] + 0.6 * shift).reshape(4, -1)
    crams = np.tile(np.arange(_MAX_PRESETS) == _CRAM_PRESET, len(quirk))
    once = np.repeat(quirk == "nothing twice", _MAX_PRESETS)
    step_ms = 1000 * np.stack((np.where(delay > 1.2, 300, 60), np.where(delay > 0.5, 900, 600)), axis=1)
    learning_steps = np.where(crams, _CRAM_STEPS, np.where(steps > 1.5, 0, np.where(steps < -1, 1, 2)))
    return Presets(
        step_ms=step_ms,
        steps=np.where(once, 0, learning_steps),
        relearn_ms=step_ms[:, 1],
        relearn_steps=np.where(delay < -1.3, 0, 1),
        graduating_days=np.where(once, NEVER, np.where(interval > 1, 3, 1)),
        easy_days=np.where(once, NEVER, 4),
        modifier=np.exp(0.2 * interval),
        leech_lapses=np.where(lapse > 1, 100, 8),
        lapse_factor=np.where(lapse > 0.5, 0.4, np.where(lapse > -0.3, 0.15, 0)),
    )


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _logit(uniform: Floats) -> Floats:
    inside = np.clip(uniform, 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))
