"""The rules by which entries of Anki's revlog count as reviews, like those of Anki's FSRS training.

Every entry falls under one rule; docs/formats.md gives the reasons. Source: rslib/src/scheduler/fsrs/params.rs
(reviews_for_fsrs), revlog/mod.rs and storage/revlog/v2_upgrade.sql of Anki; the dataset builder of anki-revlogs-10k.
"""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.history import order_by_card
from rwkv.data.imports.anki.database import RevlogRows
from rwkv.vocab import RATINGS

# Kinds of entries in Anki.
_LEARNING, _RELEARNING, _FILTERED, _MANUAL = 0, 2, 3, 4

# States of spec 1: New, or Anki's kind + 1.
_NEW = 0


@dataclass(frozen=True)
class KeptReviews:
    """The entries that count, in order of time: their rows in the revlog, and ratings and states of spec 1 [n]."""

    row: Ints
    rating: Ints
    state: Ints


def kept_reviews(revlog: RevlogRows, is_old: Bools, now_ms: int) -> tuple[KeptReviews, dict[str, int]]:
    """Apply the rules.

    Args:
        revlog: All entries.
        is_old: Whether each entry has the old scheduler's learning buttons, bool [n].
        now_ms: The time of the import. Later entries are from a wrong clock.

    Returns:
        The entries that count, and the number of entries under each rule, by name in imported.RULES.
    """
    is_mapped = np.isin(revlog.kind, (_LEARNING, _RELEARNING)) & np.isin(revlog.ease, (2, 3)) & is_old
    rating = np.where(is_mapped, revlog.ease + 1, revlog.ease)
    is_cram = (revlog.kind == _FILTERED) & (revlog.factor == 0)
    is_ahead = revlog.time_ms > now_ms
    places = _card_starts(revlog, is_cram | is_ahead)
    left = np.ones(len(rating), bool)
    counts = {"entries": len(rating)}
    for name, falls_under in (
        ("in_the_future", is_ahead),
        ("manual_entries", rating == 0),
        ("impossible_ratings", ~np.isin(rating, RATINGS)),
        ("cram_answers", is_cram),
        ("forgotten", places.is_forgotten),
        ("without_new_start", places.lacks_start),
        ("before_last_new_start", places.is_before),
    ):
        counts[name] = int((left & falls_under).sum())
        left &= ~falls_under
    row = np.flatnonzero(left)
    counts |= {"reviews": len(row), "mapped_ratings": int(is_mapped[row].sum())}
    state = np.where(places.is_start[row], _NEW, revlog.kind[row] + 1)
    return KeptReviews(row, rating[row], state), counts


@dataclass(frozen=True)
class _Places:
    """The position of each entry [n] relative to its card's last new start. At most one flag is set."""

    is_start: Bools
    is_before: Bools
    is_forgotten: Bools
    lacks_start: Bools


def _card_starts(revlog: RevlogRows, is_passed_over: Bools) -> _Places:
    """Find each card's last new start: the first entry of its last run of graded learning entries.

    Other entries end a run, except those that are passed over. A reset after the run removes the whole history.
    """
    rows = np.flatnonzero(~is_passed_over)
    by_card = order_by_card(revlog.card_id[rows])
    order = rows[by_card.order]
    is_learning = ((revlog.ease > 0) & (revlog.kind == _LEARNING))[order]
    is_reset = ((revlog.kind == _MANUAL) & (revlog.factor == 0))[order]
    place = np.arange(len(order))
    # The first entry of each card, and the number of its entries.
    first = np.flatnonzero(by_card.is_start)
    size = np.diff(first, append=len(order))
    last_learning, last_reset = _last_where(is_learning, first), _last_where(is_reset, first)
    last_other = np.maximum.accumulate(np.where(is_learning, -1, place))
    start = np.repeat(np.maximum(last_other[last_learning] + 1, first), size)
    has_start = np.repeat((last_learning >= 0) & (last_learning > last_reset), size)
    is_forgotten = ~has_start & (place < np.repeat(last_reset, size))

    def in_revlog(flag: Bools) -> Bools:
        flags = np.zeros(len(is_passed_over), bool)
        flags[order] = flag
        return flags

    return _Places(
        is_start=in_revlog(has_start & (place == start)),
        is_before=in_revlog(has_start & (place < start)),
        is_forgotten=in_revlog(is_forgotten),
        lacks_start=in_revlog(~has_start & ~is_forgotten),
    )


def _last_where(flag: Bools, first: Ints) -> Ints:
    """The index of the last flagged entry of each group that starts at `first`; -1 without one."""
    if len(first) == 0:
        return first
    return np.maximum.reduceat(np.where(flag, np.arange(len(flag)), -1), first)
