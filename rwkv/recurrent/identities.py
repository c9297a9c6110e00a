"""Entities numbered in order of first appearance, and the identity code of each (spec 3)."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Float32s
from rwkv.errors import InputError
from rwkv.model.inputs import SequenceDraw, as_int64, cycles, identity_codes
from rwkv.model.spec import CODES, CodeSpec
from rwkv.recurrent.features import Review
from rwkv.vocab import STREAMS

# Gives the code [width] of an entity by its number, which grows by one from call to call of each stream.
CodeSource = Callable[[CodeSpec, int], npt.ArrayLike]

_BLOCK = 256
# Marks, among the streams in which a review has a new entity, that it is the first with the shared note code.
_SHARED_NOTE = "shared note"


class Identities:
    """The numbers and codes of one person's entities. A code never changes once it is drawn.

    Args:
        draw: The random encodings, which give the codes.
        source: If given, gives the codes instead, one at a time in order of first appearance.
    """

    def __init__(self, draw: SequenceDraw, source: CodeSource | None = None) -> None:
        self._prefix = as_int64(draw.prefix)
        self._source = source
        self.numbers: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        # Number of the first note that shares its code.
        self.shared_note: int | None = None
        # The codes of each stream, [n, width]; only the first `_drawn` rows are valid.
        self._codes: dict[str, Float32s] = {code.stream: np.empty((0, code.width), np.float32) for code in CODES}
        self._drawn = dict.fromkeys(self._codes, 0)

    def copy(self) -> "Identities":
        """An independent copy."""
        copy = Identities.__new__(Identities)
        copy._prefix, copy._source, copy._drawn = self._prefix, self._source, dict(self._drawn)
        copy.numbers = {stream: dict(numbers) for stream, numbers in self.numbers.items()}
        copy._codes = {stream: codes.copy() for stream, codes in self._codes.items()}
        copy.shared_note = self.shared_note
        return copy

    @property
    def coded(self) -> list[str]:
        """The streams whose entities have codes."""
        return list(self._codes)

    def number(self, stream: str, entity: int) -> int:
        """The number of an entity; for a new entity, the number that it would get."""
        numbers = self.numbers[stream]
        return numbers.get(entity, len(numbers))

    def note_code(self, number: int, is_shared: bool) -> int:
        """The number whose code a note has: its own, or that of the first note with the shared code."""
        return self.shared_note if is_shared and self.shared_note is not None else number

    def add(self, review: Review) -> list[str]:
        """Number the new entities of a review. Returns the streams of new entities, for `revert`."""
        entities = review.entities
        new = [stream for stream, entity in entities.items() if entity not in self.numbers[stream]]
        for stream in new:
            self.numbers[stream][entities[stream]] = len(self.numbers[stream])
        if review.shares_note_code and self.shared_note is None:
            self.shared_note = self.numbers["note_id"][review.note]
            new.append(_SHARED_NOTE)
        return new

    def revert(self, new: Sequence[str]) -> None:
        """Remove the new entities of the latest review."""
        for place in new:
            if place == _SHARED_NOTE:
                self.shared_note = None
            else:
                self.numbers[place].popitem()

    def codes(self, stream: str, numbers: Sequence[int]) -> Float32s:
        """The codes of entities by their numbers [n], float32 [n, width]."""
        largest = max(numbers, default=-1)
        if largest >= self._drawn[stream]:
            self._draw(next(code for code in CODES if code.stream == stream), largest + 1)
        return self._codes[stream][np.asarray(numbers, np.int64)]

    def known(self, stream: str) -> Float32s:
        """The codes of all entities so far, float32 [entities, width]."""
        return self.codes(stream, range(len(self.numbers[stream])))

    def restore(self, stream: str, entities: Sequence[int], codes: Float32s | None) -> None:
        """Restore a stream's entities, in order of their numbers, and their codes if the stream has any."""
        self.numbers[stream] = {entity: number for number, entity in enumerate(entities)}
        if codes is not None:
            self._codes[stream], self._drawn[stream] = codes, len(codes)

    def _draw(self, code: CodeSpec, count: int) -> None:
        drawn = self._drawn[code.stream]
        if self._source is None:
            numbers = np.arange(drawn, max(count, drawn + _BLOCK))
            new = identity_codes(self._prefix, code.number, numbers, code.width)
        else:
            new = np.stack([_own_code(self._source, code, number) for number in range(drawn, count)])
        # Doubling the array keeps the total copying proportional to the number of entities.
        held = self._codes[code.stream]
        if drawn + len(new) > len(held):
            held = np.concatenate([held[:drawn], np.empty((drawn + len(new), code.width), np.float32)])
        held[drawn : drawn + len(new)] = new
        self._codes[code.stream], self._drawn[code.stream] = held, drawn + len(new)


def _own_code(source: CodeSource, code: CodeSpec, number: int) -> Float32s:
    values = np.asarray(source(code, number), np.float32)
    if values.shape != (code.width,) or not np.isfinite(values).all():
        where = f"number {number} of {code.stream}"
        what = "The identity code has another width than the stream's codes, or is not finite."
        got, expected = f"shape {list(values.shape)}", f"{code.width} numbers"
        raise InputError(what, where=where, got=got, expected=expected, hint="correct the source of codes")
    return values


class Calendar:
    """The calendar columns of `rwkv.model.inputs.cycles`, cached by day.

    Args:
        phases: Phase of each period in days.
    """

    def __init__(self, phases: Sequence[int]) -> None:
        self._phases = np.array([phases], np.int64)
        self._cycles: dict[int, Float32s] = {}

    def rows(self, days: Sequence[int], first_days: Sequence[int]) -> Float32s:
        """The calendar columns, float32 [n, 28], of rows with these days [n] and first days [n]."""
        missing = sorted({*days, *first_days} - self._cycles.keys())
        if missing:
            day = np.array(missing)
            both = cycles(day, day, self._phases).reshape(len(day), -1, 2, 2)
            self._cycles.update(zip(missing, both[:, :, 0], strict=True))
        pairs = [(self._cycles[day], self._cycles[first]) for day, first in zip(days, first_days, strict=True)]
        return np.array(pairs).transpose(0, 2, 1, 3).reshape(len(pairs), -1)
