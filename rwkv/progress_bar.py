"""Progress bars, and the lines that stand for them where no bar can be drawn."""

import os
import sys
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# Where stderr is not a terminal, such as a file: a line at most so often, and what it says.
_LINE_EVERY_S = 30
_LINE = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}, {elapsed} passed, {remaining} left, {rate_fmt}{postfix}"
# Columns and lines of a terminal that does not know them, such as that of a container.
_USUAL_SIZE = 80, 24


class Bar(tqdm, Generic[Item]):  # only the stubs of tqdm know the type of an item
    """A bar that counts each item at once. tqdm's own count is as old as the text it wrote last."""

    def __iter__(self) -> Iterator[Item]:
        try:
            for item in self.iterable:
                yield item
                self.update(1)
        finally:
            self.close()

    def close(self) -> None:
        """Close the bar; tqdm also closes one that a signal has left half-made, but needs what is set last."""
        if hasattr(self, "start_t"):
            super().close()


class _Lines:
    """A file in which the texts of a bar become lines of stderr."""

    def write(self, text: str) -> None:
        """Write what is not blank."""
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""


def form() -> dict[str, Any]:
    """The arguments of a bar that depend on stderr."""
    if not sys.stderr.isatty():
        # It looks at the clock after every item, so that tqdm's thread writes no lines of its own.
        every = {"delay": _LINE_EVERY_S, "mininterval": _LINE_EVERY_S, "miniters": 1}
        return {"file": _Lines(), "bar_format": _LINE, **every}
    return {"mininterval": 0.5, **_size()}


def _size() -> dict[str, Any]:
    """The arguments for the size of the terminal, in which tqdm would not draw a bar if it is unknown."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return {"dynamic_ncols": True}
    if columns and lines:
        return {"dynamic_ncols": True}
    return {"ncols": columns or _USUAL_SIZE[0], "nrows": lines or _USUAL_SIZE[1]}
