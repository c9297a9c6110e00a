"""The data of one person between reviews: counters, identities and states, with undo."""

import hashlib
import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from rwkv.arrays import Float32s
from rwkv.errors import InputError
from rwkv.model.inputs import SequenceDraw
from rwkv.recurrent.features import CardPast, PastCounters, Place, Review, Totals
from rwkv.recurrent.identities import Calendar, CodeSource, Identities
from rwkv.recurrent.rows import Lookup, look_up
from rwkv.recurrent.state_store import CURVE, Key, StateStore
from rwkv.vocab import STREAMS

# The fingerprint of a history without reviews.
NO_HISTORY = hashlib.sha256(b"").digest()

# Number of latest reviews that can be undone.
DEFAULT_LIMIT = 100


class UndoRecord(NamedTuple):
    """The data from before a review that `Person.revert` restores."""

    card: int
    counters: tuple[CardPast | None, Totals]
    new_entities: list[str]
    fingerprint: bytes


@dataclass(frozen=True)
class Question:
    """A possible next review, before its answer.

    Attributes:
        card: Id of the card.
        day_offset: Day of the review.
        elapsed_days: Whole days from the card's previous review; -1 on its first.
        elapsed_s: Seconds from the card's previous review; -1 on its first.
        place: Note, deck and preset of the card; None for those of its latest review.
        review_th: Number of the review; None for the next number.
    """

    card: int
    day_offset: int
    elapsed_days: int
    elapsed_s: int
    place: Place | None = None
    review_th: int | None = None


class Person:
    """The counters, identities and states of one person, and the fingerprint of all reviews so far."""

    def __init__(self, draw: SequenceDraw, store: StateStore, source: CodeSource | None = None) -> None:
        self.draw = draw
        self._source = source
        self.counters = PastCounters()
        self.identities = Identities(draw, source)
        self.calendar = Calendar(draw.phases)
        self.store = store
        self.fingerprint = NO_HISTORY

    def empty_copy(self, draw: SequenceDraw) -> "Person":
        """A person without history, with an equal store of states and the same source of codes."""
        return Person(draw, self.store.empty_copy(), self._source)

    def branch(self) -> "Person":
        """A person with the same history that can be fed separately. Do not feed this one before it is closed."""
        branch = Person(self.draw, self.store.branch(), self._source)
        branch.counters.cards, branch.counters.totals = dict(self.counters.cards), self.counters.totals
        branch.identities, branch.calendar, branch.fingerprint = self.identities.copy(), self.calendar, self.fingerprint
        return branch

    def look_up(self, review: Review) -> Lookup:
        """Look up a review's data in the past."""
        return look_up(review, self.counters, self.identities)

    def add(self, review: Review) -> UndoRecord:
        """Add a review to the counters and identities; the caller puts its states into the store."""
        record = UndoRecord(
            review.card,
            self.counters.commit(review),
            self.identities.add(review),
            self.fingerprint,
        )
        self.fingerprint = next_fingerprint(self.fingerprint, review)
        return record

    def revert(self, record: UndoRecord) -> None:
        """Remove the latest review from the counters and identities; the caller restores its states."""
        self.counters.revert(record.card, record.counters)
        self.identities.revert(record.new_entities)
        self.fingerprint = record.fingerprint

    def states(self, stream: str, numbers: Sequence[int]) -> list[Float32s | None]:
        """The states of a stream's entities; None for an entity without a review."""
        return [self.store.get((stream, number)) for number in numbers]

    def review(self, question: Question, rating: int = 1, state: int = 0, duration_ms: float = 0) -> Review:
        """The review that a question describes.

        Raises:
            InputError: The card was never reviewed and the question has no place.
        """
        past = self.counters.cards.get(question.card)
        place = question.place or (None if past is None else past.place)
        if place is None:
            what = "The note, deck and preset of a card without reviews are unknown."
            raise InputError(what, where=f"card {question.card}", hint="give them as `place`")
        review_th = self.counters.totals.review_th + 1 if question.review_th is None else question.review_th
        # In a history in which missing notes share one code, all of them do.
        shares = place.note_missing and self.identities.shared_note is not None
        return Review(
            review_th=review_th,
            card=question.card,
            day_offset=question.day_offset,
            elapsed_days=question.elapsed_days,
            elapsed_s=question.elapsed_s,
            rating=rating,
            state=state,
            duration_ms=duration_ms,
            shares_note_code=shares,
            **place._asdict(),
        )


def keys_of(lookup: Lookup) -> list[Key]:
    """The keys of the states of a review's entities and of the curve of its card."""
    return [*zip(STREAMS, lookup.numbers, strict=True), (CURVE, lookup.card)]


def next_fingerprint(before: bytes, review: Review) -> bytes:
    """The fingerprint of a history after one more review."""
    return hashlib.sha256(before + _REVIEW_BYTES.pack(*map(int, _fingerprinted(review)))).digest()


def fingerprint_of(reviews: Iterable[Review]) -> bytes:
    """The fingerprint of a history."""
    fingerprint = NO_HISTORY
    for review in reviews:
        fingerprint = next_fingerprint(fingerprint, review)
    return fingerprint


# The columns of a review in a fingerprint, in an order on which saved engines rely.
_FINGERPRINTED = (
    "review_th",
    "card",
    "note",
    "deck",
    "preset",
    "note_missing",
    "deck_missing",
    "preset_missing",
    "day_offset",
    "elapsed_days",
    "elapsed_s",
    "rating",
    "state",
    "duration_ms",
    "shares_note_code",
)
_fingerprinted = attrgetter(*_FINGERPRINTED)
_REVIEW_BYTES = struct.Struct(f"<{len(_FINGERPRINTED)}q")


class UndoEntry(NamedTuple):
    """The data from before one review: counters and identities, and the states, None without an earlier state."""

    record: UndoRecord
    states: Mapping[Key, Float32s | None]


class UndoLog:
    """The latest reviews, at most `limit`, about 280 kB each."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._entries: deque[UndoEntry] = deque(maxlen=limit)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, record: UndoRecord, states: Mapping[Key, Float32s | None]) -> None:
        """Record the data from before a review."""
        self._entries.append(UndoEntry(record, states))

    def clear(self) -> None:
        """Forget all reviews, so that none of them can be undone."""
        self._entries.clear()

    def undo(self, person: Person, count: int) -> None:
        """Undo the latest reviews.

        Raises:
            InputError: Fewer reviews can be undone. Nothing is changed then.
        """
        if not 0 <= count <= len(self._entries):
            raise InputError(
                "Cannot undo that many reviews.",
                where="count",
                got=str(count),
                expected=f"0 to {len(self._entries)}, the reviews answered one at a time in this session",
                hint="undo fewer, or feed the history again without them",
            )
        for _ in range(count):
            record, states = self._entries.pop()
            person.revert(record)
            person.store.put(states)  # keeps them in memory even if the disk is full
