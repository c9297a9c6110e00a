"""What counts of one card, entry by entry, as docs/formats.md words it: slow and plain, to compare with."""

from typing import NamedTuple

LEARNING, REVIEW, RELEARNING, FILTERED, MANUAL, RESCHEDULED = range(6)


class Entry(NamedTuple):
    """A row of Anki's revlog, but for its card."""

    time_ms: int
    ease: int
    factor: int
    duration_ms: int
    kind: int

    @property
    def is_cram(self) -> bool:
        return self.kind == FILTERED and self.factor == 0

    @property
    def is_reset(self) -> bool:
        return self.kind == MANUAL and self.factor == 0

    @property
    def is_learning_step(self) -> bool:
        return self.kind == LEARNING and self.ease > 0


def history_that_counts(entries: list[Entry]) -> list[Entry]:
    """The graded answers that reschedule, since the card's last new start, unless it was reset since; by time."""
    seen = [entry for entry in entries if not entry.is_cram]
    while seen and not seen[-1].is_learning_step:
        if seen.pop().is_reset:
            return []
    if not seen:
        return []
    while seen and seen[-1].is_learning_step:
        start = seen.pop()
    return [entry for entry in entries if entry.time_ms >= start.time_ms and entry.ease > 0 and not entry.is_cram]
