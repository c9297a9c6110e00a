"""The contents of a saved engine: the header, the arrays whose shapes it gives, and the checks of both."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rwkv.model.columns import KEPT_COLUMNS
from rwkv.model.inputs import SequenceDraw
from rwkv.model.spec import CODES, CYCLE_DAYS, NetworkSpec
from rwkv.recurrent.features import MISSING_FLAGS, CardPast, Place, Totals
from rwkv.recurrent.person import Person
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import STREAMS

KINDS = (CURVE, *STREAMS)

# The dtype and shape of an array.
Form = tuple[str, tuple[int, ...]]
Arrays = dict[str, np.ndarray]

# The columns of a card, in the order of the file.
_PAST = tuple(name for name in CardPast._fields if name != "place")
_CARD_COLUMNS = ("card", *_PAST, *Place._fields)


@dataclass(frozen=True)
class Header:
    """The header of a saved engine.

    Attributes:
        weights: Fingerprint of the weights, in hexadecimal digits.
        history: Fingerprint of the history, in hexadecimal digits.
        draw: Prefix and phases of the random encodings.
        totals: The fields of Totals.
        shared_note: Number of the first note that shares its code, see Identities.
        entities: Number of entities by stream.
        states: Number of states by kind.
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
        """Make a header from JSON.

        Raises:
            ValueError, TypeError or LookupError: The content is not a valid header.
        """
        if not isinstance(content, dict) or set(content) != {field.name for field in fields(cls)}:
            raise ValueError("the header has other fields")
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
        """Number of saved reviews."""
        return int(self.totals[0] or 0)

    def sequence_draw(self) -> SequenceDraw:
        """The random encodings."""
        return SequenceDraw(self.draw[0], tuple(self.draw[1]))

    def array_forms(self) -> dict[str, Form]:
        """The dtype and shape of each array, in the order of the file."""
        return {
            "cards": ("<i8", (self.entities["card_id"], len(_CARD_COLUMNS))),
            **{stream: ("<i8", (self.entities[stream],)) for stream in STREAMS},
            **{f"{code.stream} codes": ("<f4", (self.entities[code.stream], code.width)) for code in CODES},
            **{f"{kind} states": ("<i8", (self.states[kind],)) for kind in KINDS},
        }

    def state_sizes(self, spec: NetworkSpec) -> dict[str, int]:
        """The length of a state of each kind, in the order of the file."""
        sizes = {stream.name: spec.state_size(stream) for stream in spec.streams} | {CURVE: KEPT_COLUMNS}
        return {kind: sizes[kind] for kind in sorted(KINDS)}

    def body_bytes(self, spec: NetworkSpec) -> int:
        """The size of the arrays and states in bytes."""
        arrays = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in self.array_forms().values())
        return arrays + sum(4 * size * self.states[kind] for kind, size in self.state_sizes(spec).items())


def header_of(person: Person, weights: str) -> Header:
    """The header of a person's file; `weights` is the fingerprint of the weights."""
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
    """The arrays of a person's file, in the order of the file."""
    identities = person.identities
    cards = [{"card": card, **past._asdict(), **past.place._asdict()} for card, past in person.counters.cards.items()]
    rows = [[columns[name] for name in _CARD_COLUMNS] for columns in cards]
    return {
        "cards": np.array(rows, np.int64),
        **{stream: np.array(list(identities.numbers[stream]), np.int64) for stream in STREAMS},
        **{f"{code.stream} codes": identities.known(code.stream) for code in CODES},
        **{f"{kind} states": np.array(numbers, np.int64) for kind, numbers in _state_numbers(person).items()},
    }


def fill_person(person: Person, header: Header, arrays: Arrays) -> None:
    """Fill a person without history from a file's header and arrays; the states are not filled.

    Raises:
        ValueError: The header and the arrays do not belong together.
    """
    counters, identities = person.counters, person.identities
    person.fingerprint = bytes.fromhex(header.history)
    counters.totals = Totals._make(header.totals)
    for row in arrays["cards"].tolist():
        columns = dict(zip(_CARD_COLUMNS, row, strict=True))
        columns |= {name: bool(columns[name]) for name in MISSING_FLAGS}
        place = Place(**{name: columns[name] for name in Place._fields})
        counters.cards[columns["card"]] = CardPast(place=place, **{name: columns[name] for name in _PAST})
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
    """The numbers of the entities that have a state of each kind, ascending."""
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
        raise ValueError(f"invalid {what}")
