"""What the file of a saved engine holds: a header, arrays whose shapes it gives, and what both must be like."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rwkv.model.heads import KEPT_COLUMNS
from rwkv.model.inputs import SequenceDraw
from rwkv.model.native_step import state_size
from rwkv.model.spec import CODES, CYCLE_DAYS, NetworkSpec
from rwkv.recurrent.features import CardPast, Place, Totals
from rwkv.recurrent.person import Person
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import STREAMS

KINDS = (CURVE, *STREAMS)

# dtype and shape.
Form = tuple[str, tuple[int, ...]]
Arrays = dict[str, np.ndarray]

_CARD_COLUMNS = len(CardPast._fields) + len(Place._fields)
# What a Place ends with.
_FLAGS = Place._fields[3:]


@dataclass(frozen=True)
class Header:
    """weights, history: fingerprints, in hex. draw: prefix and phases. totals: as Totals. shared_note: see Identities.
    entities: how many, by stream. states: how many, by kind.
    """

    weights: str
    history: str
    draw: tuple[int, list[int]]
    totals: list[int | None]
    shared_note: int | None
    entities: dict[str, int]
    states: dict[str, int]

    @classmethod
    def checked(cls, content: object) -> "Header":
        """From JSON. Raises ValueError, TypeError or LookupError where no engine has such."""
        if not isinstance(content, dict) or set(content) != {field.name for field in fields(cls)}:
            raise ValueError("a header of other fields")
        header = cls(**content)
        _need(len(bytes.fromhex(header.history)) == 32 and isinstance(header.weights, str), "fingerprints")
        _need(set(header.entities) == set(STREAMS) and set(header.states) == set(KINDS), "streams")
        _need(all(map(_is_count, (*header.entities.values(), *header.states.values()))), "counts")
        shared = header.shared_note
        _need(shared is None or _is_whole(shared, 0, header.entities["note_id"]), "the shared note")
        prefix, phases = header.draw
        _need(_is_whole(prefix, 0, 2**64) and len(phases) == len(CYCLE_DAYS), "draw")
        _need(all(_is_whole(phase, 0, 2**31) for phase in phases), "phases")
        _check_totals(Totals._make(header.totals))
        return header

    @property
    def reviews(self) -> int:
        """How many reviews were taken in."""
        return int(self.totals[0] or 0)

    def sequence_draw(self) -> SequenceDraw:
        """The random encodings."""
        return SequenceDraw(self.draw[0], tuple(self.draw[1]))

    def array_forms(self) -> dict[str, Form]:
        """The arrays, in the order of the file."""
        return {
            "cards": ("<i8", (self.entities["card_id"], _CARD_COLUMNS)),
            **{stream: ("<i8", (self.entities[stream],)) for stream in STREAMS},
            **{f"{code.stream} codes": ("<f4", (self.entities[code.stream], code.width)) for code in CODES},
            **{f"{kind} states": ("<i8", (self.states[kind],)) for kind in KINDS},
        }

    def state_sizes(self, spec: NetworkSpec) -> dict[str, int]:
        """The numbers of a state of each kind, in the order of the file."""
        sizes = {stream.name: state_size(spec, stream) for stream in spec.streams} | {CURVE: KEPT_COLUMNS}
        return {kind: sizes[kind] for kind in sorted(KINDS)}

    def body_bytes(self, spec: NetworkSpec) -> int:
        """The size of arrays and states."""
        arrays = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in self.array_forms().values())
        return arrays + sum(4 * size * self.states[kind] for kind, size in self.state_sizes(spec).items())


def header_of(person: Person, weights: str) -> Header:
    """The header of a person's file. weights: their fingerprint."""
    identities, totals = person.identities, person.counters.totals
    numbers = _state_numbers(person)
    return Header(
        weights=weights,
        history=person.fingerprint.hex(),
        draw=(person.draw.prefix, list(person.draw.phases)),
        totals=list(totals),
        shared_note=identities.shared_note,
        entities={stream: len(identities.numbers[stream]) for stream in STREAMS},
        states={kind: len(numbers[kind]) for kind in KINDS},
    )


def arrays_of(person: Person) -> Arrays:
    """The arrays of a person's file, in its order."""
    identities = person.identities
    rows = [[card, *past[:-1], *past.place] for card, past in person.counters.cards.items()]
    return {
        "cards": np.array(rows, np.int64),
        **{stream: np.array(list(identities.numbers[stream]), np.int64) for stream in STREAMS},
        **{f"{code.stream} codes": identities.known(code.stream) for code in CODES},
        **{f"{kind} states": np.array(numbers, np.int64) for kind, numbers in _state_numbers(person).items()},
    }


def take_over(person: Person, header: Header, arrays: Arrays) -> None:
    """Make a person without history the one in a file, but for the states. Raises ValueError for what no engine has."""
    counters, identities = person.counters, person.identities
    person.fingerprint = bytes.fromhex(header.history)
    counters.totals = Totals._make(header.totals)
    for card, *row in arrays["cards"].tolist():
        *past, note, deck, preset = row[: -len(_FLAGS)]
        place = Place(note, deck, preset, *map(bool, row[-len(_FLAGS) :]))
        counters.cards[card] = CardPast._make([*past, place])
    for past in counters.cards.values():
        _check_past(past, counters.totals)
    for stream in STREAMS:
        identities.restore(stream, arrays[stream].tolist(), arrays.get(f"{stream} codes"))
        _need(len(identities.numbers[stream]) == header.entities[stream], f"entities of {stream}")
    identities.shared_note = header.shared_note
    _need(counters.cards.keys() == identities.numbers["card_id"].keys(), "cards")
    for kind in KINDS:
        numbers = arrays[f"{kind} states"]
        most = header.entities["card_id" if kind == CURVE else kind]
        _need(bool(np.all(np.diff(numbers, prepend=-1) > 0)) and numbers.max(initial=-1) < most, f"states of {kind}")


def _state_numbers(person: Person) -> dict[str, list[int]]:
    """By kind, the numbers of the entities that have a state, ascending."""
    numbers: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for kind, number in person.store.all_keys():
        numbers[kind].append(number)
    return numbers


def _check_totals(totals: Totals) -> None:
    _need(_is_count(totals.reviews) and _is_whole(totals.review_th, totals.reviews, 2**63), "reviews")
    _need(all(_is_whole(new, 0, totals.reviews + 1) for new in (totals.new_cards, totals.new_cards_today)), "new cards")
    _need(_is_whole(totals.reviews_today, 0, totals.reviews + 1), "reviews today")
    days: tuple[Any, Any] = totals.first_day, totals.today
    if totals.reviews == 0:
        _need(days == (None, None), "days")
    else:
        _need(all(_is_whole(day, -(2**31), 2**31) for day in days) and days[0] <= days[1], "days")


def _check_past(past: CardPast, totals: Totals) -> None:
    _need(1 <= past.review_th <= totals.review_th and 0 <= past.new_cards <= totals.new_cards, "a card's reviews")
    _need(0 <= past.first_day < 2**32, "a card's first day")


def _is_whole(value: object, least: int, beyond: int) -> bool:
    return type(value) is int and least <= value < beyond


def _is_count(value: object) -> bool:
    return _is_whole(value, 0, 2**40)


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"{what} are not those of an engine")
