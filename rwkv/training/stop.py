"""Stopping the processes of a training after the same step or in the same validation, when one of them is asked to."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

_STOP, _STOP_NOW = "rwkv/stop", "rwkv/stop_now"

Item = TypeVar("Item")


class Store(Protocol):
    """Values that all processes see, as torch.distributed.Store."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...

    def get(self, key: str) -> bytes: ...


class Stop:
    """The agreement of the processes to stop after the same step or in the same validation.

    Args:
        asked: Returns the signal that asks this process to stop, or None.
        store: What the processes share; None for a process alone.

    Attributes:
        signal: The signal that asks one of them to stop, or None.
    """

    def __init__(self, asked: Callable[[], signal.Signals | None], store: Store | None) -> None:
        self.signal: signal.Signals | None = None
        self._asked, self._store = asked, store
        self._last = 0
        self._now: signal.Signals | None = None

    def is_before(self, n: int) -> bool:
        """Whether step n is not to be taken. Call it before each step is started.

        A process reads the report of step n, and so has the sums of all for it, before it starts step n + 2. So what
        another one says before it starts step n is known to all that start step n + 2.
        """
        if self.signal is None and (agreed := self._agreed(n)):
            self._last, self.signal = agreed[0], signal.Signals(agreed[1])
        return self.signal is not None and n > self._last

    def until_asked(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items of this process, until one of the processes is asked to stop. Call `agreed_now` after them."""
        for item in items:
            self._now = self._asked_now()
            if self._now is not None:
                return
            yield item

    def agreed_now(self, added: Callable[[list[float]], list[float]]) -> signal.Signals | None:
        """The signal for which a process has left out items, the same for all; None if none has.

        Args:
            added: Adds each of some numbers up over all processes.
        """
        return self._asked_now() if added([float(self._now is not None)])[0] else None

    def _asked_now(self) -> signal.Signals | None:
        """The signal that asks one of the processes to stop, as far as this one knows; None without one."""
        asked = self._asked()
        if self._store is None:
            return asked
        if asked is not None:
            return signal.Signals(int(self._store.compare_set(_STOP_NOW, "", str(int(asked)))))
        return signal.Signals(int(self._store.get(_STOP_NOW))) if self._store.check([_STOP_NOW]) else None

    def _agreed(self, n: int) -> tuple[int, ...] | None:
        """The last step to take, and the number of a signal; None without one."""
        asked = self._asked()
        if self._store is None:
            return None if asked is None else (n - 1, asked)
        if asked is not None:
            text = self._store.compare_set(_STOP, "", f"{n + 1} {int(asked)}")
        elif self._store.check([_STOP]):
            text = self._store.get(_STOP)
        else:
            return None
        return tuple(map(int, text.split()))
