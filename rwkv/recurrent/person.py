"""Everything that is kept of one person between reviews, and how a review is taken in and taken back."""

import hashlib
import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from rwkv.errors import InputError
from rwkv.model.inputs import SequenceDraw
from rwkv.recurrent.features import CardPast, PastCounters, Place, Review, Totals
from rwkv.recurrent.identities import Calendar, CodeSource, Identities
from rwkv.recurrent.rows import Look, look
from rwkv.recurrent.state_store import CURVE, Key, StateStore
from rwkv.vocab import STREAMS

# The fingerprint of a history without reviews.
NO_HISTORY = hashlib.sha256(b"").digest()

# The latest reviews that can be taken back.
DEFAULT_LIMIT = 100


class Taken(NamedTuple):
    """What taking back a review needs: what was there before it."""

    card: int
    counters: tuple[CardPast | None, Totals]
    new_entities: list[str]
    fingerprint: bytes


@dataclass(frozen=True)
class Question:
    """A review that may come, before its answer.

    day_offset, elapsed_days, elapsed_s: as of a Review. place: where the card belongs; None where it belonged at its
    latest review. review_th: None for the next one.
    """

    card: int
    day_offset: int
    elapsed_days: int
    elapsed_s: int
    place: Place | None = None
    review_th: int | None = None


class Person:
    """Counters, identities and states of one person. fingerprint: of all reviews so far, in order."""

    def __init__(self, draw: SequenceDraw, store: StateStore, source: CodeSource | None = None) -> None:
        self.draw = draw
        self._source = source
        self.counters = PastCounters()
        self.identities = Identities(draw, source)
        self.calendar = Calendar(draw.phases)
        self.store = store
        self.fingerprint = NO_HISTORY

    def like(self, draw: SequenceDraw) -> "Person":
        """A person without history, whose states are kept in the same way and whose codes have the same source."""
        return Person(draw, self.store.like(), self._source)

    def branch(self) -> "Person":
        """The same person, to go on another way; this one must take nothing in before that one is closed."""
        twin = Person(self.draw, self.store.branch(), self._source)
        twin.counters.cards, twin.counters.totals = dict(self.counters.cards), self.counters.totals
        twin.identities, twin.calendar, twin.fingerprint = self.identities.copy(), self.calendar, self.fingerprint
        return twin

    def look(self, review: Review) -> Look:
        """See a review from what came before it."""
        return look(review, self.counters, self.identities)

    def take_in(self, review: Review) -> Taken:
        """Count a review; its states are put by who has computed them."""
        taken = Taken(
            review.card,
            self.counters.commit(review),
            self.identities.take_in(review),
            self.fingerprint,
        )
        self.fingerprint = next_fingerprint(self.fingerprint, review)
        return taken

    def revert(self, taken: Taken) -> None:
        """Take the latest review back; its states are put back by who has kept them."""
        self.counters.revert(taken.card, taken.counters)
        self.identities.revert(taken.new_entities)
        self.fingerprint = taken.fingerprint

    def states(self, stream: str, numbers: Sequence[int]) -> list[Tensor | None]:
        """The states of entities of a stream, None of one without a review."""
        return [self.store.get((stream, number)) for number in numbers]

    def review(self, question: Question, rating: int = 1, state: int = 0, duration_ms: float = 0) -> Review:
        """The review that a question would become. Raises InputError for an unknown card without a place."""
        past = self.counters.cards.get(question.card)
        place = question.place or (None if past is None else past.place)
        if place is None:
            what = "The card was never reviewed, so nothing says where it belongs."
            raise InputError(what, where=f"card {question.card}", hint="give its note, deck and preset as `place`")
        review_th = self.counters.totals.review_th + 1 if question.review_th is None else question.review_th
        when = question.day_offset, question.elapsed_days, question.elapsed_s
        # Those that are missing share one code, if any do.
        shares = place.note_missing and self.identities.shared_note is not None
        return Review(review_th, question.card, *place, *when, rating, state, duration_ms, shares)


def keys_of(found: Look) -> list[Key]:
    """Where the states of a review's entities and the curve of its card are kept."""
    return [*zip(STREAMS, found.numbers, strict=True), (CURVE, found.numbers[0])]


def next_fingerprint(before: bytes, review: Review) -> bytes:
    """The fingerprint of a history with one more review."""
    values = map(int, vars(review).values())
    return hashlib.sha256(before + _PACKED.pack(*values)).digest()


def fingerprint_of(reviews: Iterable[Review]) -> bytes:
    """The fingerprint of a history."""
    fingerprint = NO_HISTORY
    for review in reviews:
        fingerprint = next_fingerprint(fingerprint, review)
    return fingerprint


_PACKED = struct.Struct(f"<{len(Review.__dataclass_fields__)}q")


class Overwritten(NamedTuple):
    """What one review changed: counters, and the states that were there before, None where there were none."""

    taken: Taken
    states: Mapping[Key, Tensor | None]


class UndoLog:
    """At most `limit` reviews, which keep about 280 kB each."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._entries: deque[Overwritten] = deque(maxlen=limit)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, taken: Taken, states: Mapping[Key, Tensor | None]) -> None:
        """Remember a review that was taken in."""
        self._entries.append(Overwritten(taken, states))

    def clear(self) -> None:
        """Forget: none of the reviews so far can be taken back."""
        self._entries.clear()

    def undo(self, person: Person, count: int) -> None:
        """Take the latest reviews back. Raises InputError, and changes nothing, where there are fewer."""
        if not 0 <= count <= len(self._entries):
            raise InputError(
                "So many reviews cannot be taken back.",
                got=str(count),
                expected=f"0 to {len(self._entries)}: reviews that were answered one at a time in this session",
            )
        for _ in range(count):
            taken, states = self._entries.pop()
            person.revert(taken)
            person.store.put(states)  # holds them also where the disk is full
