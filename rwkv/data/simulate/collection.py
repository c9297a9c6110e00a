"""The collections of simulated learners: cards, notes and decks, in the order of their introduction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.simulate.population import Person
from rwkv.data.simulate.schedulers import NEVER
from rwkv.data.simulate.sessions import Sessions
from rwkv.data.simulate.shapes import bounds, heavy, logit, sigmoid

NO_PARENT = -1
MAX_PRESETS = 6
CRAM_PRESET = MAX_PRESETS - 1
_MOST_DECKS = 200
_LESSON_CARDS = 12
_MOST_EASE = 3.0


@dataclass(frozen=True)
class Collection:
    """The cards of a batch of users in the order of their introduction.

    Cards of user k are first[k] to first[k + 1], and decks deck_first[k] to deck_first[k + 1].

    Attributes:
        note, deck, preset: Numbers in the batch [cards].
        due_day: The day of the card's introduction [cards].
        listed: Whether the card has a row in `cards` [cards].
        ease: A term of the log of stability [cards].
        deck_level: A term of the logit of recall [decks].
        deck_parent: The parent's number within the user [decks].
        deck_preset, deck_listed: The preset, and whether the deck has a row in `decks` [decks].
    """

    first: Ints
    note: Ints
    deck: Ints
    preset: Ints
    listed: Bools
    ease: Floats
    due_day: Ints
    deck_first: Ints
    deck_parent: Ints
    deck_preset: Ints
    deck_listed: Bools
    deck_level: Floats


@dataclass(frozen=True)
class CollectionSizes:
    """Sizes of collections. cards, decks: int64 [users]. new_cards: new cards of a session, float64 [users]."""

    cards: Ints
    decks: Ints
    new_cards: Floats


@dataclass(frozen=True)
class _Decks:
    """The decks of all users: first [users + 1], and by deck its index within the user, parent, preset and ease."""

    first: Ints
    index: Ints
    parent: Ints
    preset: Ints
    ease: Floats
    level: Floats


@dataclass(frozen=True)
class CardDraws:
    """Random numbers of cards and decks: uniform [cards, 4], normal [cards, 3], deck_uniform [decks, 5]."""

    uniform: Floats
    normal: Floats
    deck_uniform: Floats


def deck_counts(trait: Iterator[Floats], person: Person, quirk: npt.NDArray[np.str_], cards: Ints) -> Ints:
    """The number of decks of each user, by the population and limited by the cards; one more for a crammed card."""
    most = np.minimum(_MOST_DECKS, 2 + cards // 8)
    usual = person.decks * np.exp(-0.5 * np.abs(next(trait)))
    return 1 + np.minimum(usual, most - 1).astype(np.int64) + (quirk == "crammed card")


def draw_collection(
    trait: Iterator[Floats],
    person: Person,
    quirk: npt.NDArray[np.str_],
    sessions: Sessions,
    sizes: CollectionSizes,
    draws: CardDraws,
) -> Collection:
    """Draw the cards of a batch of users, with decks, notes and days of introduction."""
    user = np.repeat(np.arange(len(quirk)), sizes.cards)
    first = bounds(sizes.cards)
    index = np.arange(len(user)) - first[user]
    haste, progress = np.exp(0.6 * next(trait)), index / np.maximum(sizes.cards[user], 1)
    decks = _draw_decks(trait, person, quirk, sizes.decks, draws.deck_uniform)
    root = _first_siblings(draws.uniform[:, 0] > person.note_share[user], draws.uniform[:, 1], index)
    place = _places(trait, decks, user, progress, draws.uniform[root, 2])
    place = np.where((quirk == "crammed card")[user] & (index == 0), sizes.decks[user] - 1, place)
    deck = decks.first[user] + place
    missing_share = np.where(quirk == "cards missing", 0.15 + 0.04 * sigmoid(next(trait)), 0)
    session = (progress ** haste[user] * (sizes.cards / sizes.new_cards)[user]).astype(np.int64)
    is_planned = session < np.diff(sessions.first)[user]
    due_day = sessions.day[sessions.first[user] + np.where(is_planned, session, 0)]
    owner = np.repeat(np.arange(len(quirk)), sizes.decks)
    return Collection(
        first=first,
        note=(np.cumsum(root == np.arange(len(root))) - 1)[root],
        deck=deck,
        preset=decks.preset[deck] + MAX_PRESETS * user,
        listed=draws.uniform[:, 3] >= missing_share[user],
        ease=np.clip(_ease(trait, user, index, root, draws.normal) + decks.ease[deck], -_MOST_EASE, _MOST_EASE),
        due_day=np.where(is_planned, due_day, NEVER),
        deck_first=decks.first,
        deck_parent=decks.parent,
        deck_preset=decks.preset,
        deck_level=decks.level,
        deck_listed=(quirk != "decks missing")[owner] | (decks.index % 2 == 1),
    )


def _draw_decks(
    trait: Iterator[Floats], person: Person, quirk: npt.NDArray[np.str_], counts: Ints, uniform: Floats
) -> _Decks:
    """Draw parents, presets and ease of all decks. A few are far easier or harder than the others."""
    presets = np.clip(person.presets, 1, MAX_PRESETS - 1).astype(np.int64)
    nested, spread, odd_share = sigmoid(next(trait)), heavy(next(trait), 0.35), sigmoid(1.5 * next(trait) - 3)
    level_spread = heavy(next(trait), 0.5, 0.8)
    first = bounds(counts)
    user = np.repeat(np.arange(len(counts)), counts)
    index = np.arange(len(user)) - first[user]
    crams = (quirk == "crammed card")[user] & (index == counts[user] - 1)
    is_odd = uniform[:, 2] < 0.3 * odd_share[user]
    return _Decks(
        first=first,
        index=index,
        parent=np.where((uniform[:, 0] < nested[user]) & (index > 0), (index - 1) // 3, NO_PARENT),
        preset=np.where(crams, CRAM_PRESET, index % presets[user]),
        ease=spread[user] * 0.55 * logit(uniform[:, 1]) + is_odd * np.where(uniform[:, 4] < 0.5, -1.5, 1.5),
        level=level_spread[user] * 0.55 * logit(uniform[:, 3]),
    )


def _places(trait: Iterator[Floats], decks: _Decks, user: Ints, progress: Floats, uniform: Floats) -> Ints:
    """The deck of each card within its user. Some users study one deck after another, others all at once."""
    counts = np.diff(decks.first)[user]
    width = 0.03 + 0.97 * sigmoid(1.5 * next(trait) - 0.8)[user]
    where = np.clip(progress * (1 - width) + width * uniform, 0, 1 - 1e-9)
    skewed = where ** (1 + np.abs(next(trait)))[user]
    return (counts * skewed).astype(np.int64)


def _ease(trait: Iterator[Floats], user: Ints, index: Ints, root: Ints, normal: Floats) -> Floats:
    """The ease of each card: a sum over the card, its note, and its lesson of a dozen consecutive cards."""
    own, note, lesson = heavy(next(trait), 0.36, 0.7), heavy(next(trait), 0.25, 0.7), heavy(next(trait), 0.22)
    drift = 0.7 * next(trait)
    start = np.arange(len(user)) - index % _LESSON_CARDS
    later = np.minimum(index / 2000, 1)
    spread = own[user] * normal[:, 0] + note[user] * normal[root, 1] + lesson[user] * normal[start, 2]
    return spread + drift[user] * later


def _first_siblings(is_sibling: Bools, lag: Floats, index: Ints) -> Ints:
    """The first card of each card's note, int64 [cards]. A sibling shares the note of a card shortly before it."""
    cards = np.arange(len(index))
    back = 1 + (12 * lag**4).astype(np.int64)
    root = np.where(is_sibling & (back <= index), cards - back, cards)
    while np.any(root[root] != root):
        root = root[root]
    return root
