"""The latest reviews, each with what it overwrote, so that they can be taken back exactly."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from rwkv.errors import InputError
from rwkv.recurrent.person import Person, Taken
from rwkv.recurrent.state_store import Key

DEFAULT_LIMIT = 100


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
