"""Who is who: entities numbered in order of first appearance, and the code by which the network knows each (spec 3)."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from rwkv.arrays import Float32s
from rwkv.errors import InputError
from rwkv.model.inputs import SequenceDraw, as_int64, cycles, identity_codes
from rwkv.model.spec import CODES, CodeSpec
from rwkv.recurrent.features import Review
from rwkv.vocab import STREAMS

# Gives the code [width] of a stream's entity with a number, which grows by one from call to call of a stream.
CodeSource = Callable[[CodeSpec, int], npt.ArrayLike]

_BLOCK = 256
# Beside the streams, where a review may bring something new.
_SHARED_NOTE = "shared note"


class Identities:
    """Numbers and codes of one person's entities. A code, once drawn, stays.

    draw: gives the codes. source: gives them instead, one at a time in order of first appearance, where not None.
    """

    def __init__(self, draw: SequenceDraw, source: CodeSource | None = None) -> None:
        self._prefix = as_int64(draw.prefix)
        self._source = source
        self.numbers: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        # The first of the notes that share one code.
        self.shared_note: int | None = None
        # By stream: the codes of at least all numbers that were asked for, [n, width].
        self._codes: dict[str, Float32s] = {code.stream: np.empty((0, code.width), np.float32) for code in CODES}
        self._drawn = dict.fromkeys(self._codes, 0)

    def copy(self) -> "Identities":
        """The same, to go its own way."""
        twin = Identities.__new__(Identities)
        twin._prefix, twin._source, twin._drawn = self._prefix, self._source, dict(self._drawn)
        twin.numbers = {stream: dict(numbers) for stream, numbers in self.numbers.items()}
        twin._codes = {stream: codes.copy() for stream, codes in self._codes.items()}
        twin.shared_note = self.shared_note
        return twin

    @property
    def coded(self) -> list[str]:
        """The streams whose entities have codes."""
        return list(self._codes)

    def number(self, stream: str, entity: int) -> int:
        """An entity's number; of one that was never taken in, the number that the next would get."""
        numbers = self.numbers[stream]
        return numbers.get(entity, len(numbers))

    def note_code(self, number: int, is_shared: bool) -> int:
        """The number whose code a note has: its own, or that of the first of those that share one."""
        return self.shared_note if is_shared and self.shared_note is not None else number

    def take_in(self, review: Review) -> list[str]:
        """Give numbers to entities that have none. Returns where there was something new, for `revert`."""
        entities = review.entities
        new = [stream for stream, entity in entities.items() if entity not in self.numbers[stream]]
        for stream in new:
            self.numbers[stream][entities[stream]] = len(self.numbers[stream])
        if review.shares_note_code and self.shared_note is None:
            self.shared_note = self.numbers["note_id"][review.note]
            new.append(_SHARED_NOTE)
        return new

    def revert(self, new: Sequence[str]) -> None:
        """Forget what the latest review brought."""
        for place in new:
            if place == _SHARED_NOTE:
                self.shared_note = None
            else:
                self.numbers[place].popitem()

    def codes(self, stream: str, numbers: Sequence[int]) -> Float32s:
        """The codes [n, width] of numbers."""
        most = max(numbers, default=-1)
        if most >= self._drawn[stream]:
            self._draw(next(code for code in CODES if code.stream == stream), most + 1)
        return self._codes[stream][np.asarray(numbers, np.int64)]

    def known(self, stream: str) -> Float32s:
        """The codes of all entities that were taken in."""
        return self.codes(stream, range(len(self.numbers[stream])))

    def restore(self, stream: str, entities: Sequence[int], codes: Float32s | None) -> None:
        """Become what another was: entities in order of their numbers, with their codes where the stream has any."""
        self.numbers[stream] = {entity: number for number, entity in enumerate(entities)}
        if codes is not None:
            self._codes[stream], self._drawn[stream] = codes, len(codes)

    def _draw(self, code: CodeSpec, count: int) -> None:
        drawn = self._drawn[code.stream]
        if self._source is None:
            numbers = torch.arange(drawn, max(count, drawn + _BLOCK))
            new = identity_codes(torch.tensor([self._prefix]), code.number, numbers, code.width).numpy()
        else:
            new = np.stack([_own_code(self._source, code, number) for number in range(drawn, count)])
        # Doubling keeps what a growing collection copies in proportion to its size.
        held = self._codes[code.stream]
        if drawn + len(new) > len(held):
            held = np.concatenate([held[:drawn], np.empty((drawn + len(new), code.width), np.float32)])
        held[drawn : drawn + len(new)] = new
        self._codes[code.stream], self._drawn[code.stream] = held, drawn + len(new)


def _own_code(source: CodeSource, code: CodeSpec, number: int) -> Float32s:
    values = np.asarray(source(code, number), np.float32)
    if values.shape != (code.width,) or not np.isfinite(values).all():
        where = f"number {number} of {code.stream}"
        what = "An identity code is not as wide as the stream's codes, or is no numbers."
        raise InputError(what, where=where, got=f"shape {list(values.shape)}", expected=f"{code.width} numbers")
    return values


class Calendar:
    """The cycles of rwkv.model.inputs, remembered by day.

    phases: days, of each period.
    """

    def __init__(self, phases: Sequence[int]) -> None:
        self._phases = torch.tensor([phases])
        self._of_day: dict[int, Float32s] = {}

    def rows(self, days: Sequence[int], first_days: Sequence[int]) -> Float32s:
        """Calendar columns [n, 28] of rows with these days and first days."""
        missing = sorted({*days, *first_days} - self._of_day.keys())
        if missing:
            day = torch.tensor(missing)
            both = cycles(day, day, self._phases.expand(len(day), -1)).numpy().reshape(len(day), -1, 2, 2)
            self._of_day.update(zip(missing, both[:, :, 0], strict=True))
        pairs = [(self._of_day[day], self._of_day[first]) for day, first in zip(days, first_days, strict=True)]
        return np.array(pairs).transpose(0, 2, 1, 3).reshape(len(pairs), -1)
