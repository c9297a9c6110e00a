"""Recognise a source of reviews that is already a user of a folder."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.collection import CollectionInfo, list_collections, read_info
from rwkv.data.imports.imported import TimedReviews
from rwkv.data.revlogs import has_revlog
from rwkv.data.tables import integers, read_columns
from rwkv.errors import RwkvError

# Counts that change with time.
_BY_NOW = {"in_the_future"}


def same_import(root: Path, info: CollectionInfo, by_name: bool) -> int | None:
    """The user imported from the same file with the same options, or None. by_name: the names must match, too."""
    imports = _readable(root, list_collections(root))
    users = [user for user, facts in imports if _is_same(facts, info) and not (by_name and facts.name != info.name)]
    return users[-1] if users else None


def unfinished_import(root: Path, info: CollectionInfo) -> int | None:
    """The number of a killed import of the same file, or None."""
    names = (path.parent.name.removeprefix("user_id=") for path in root.glob("collection/user_id=*/info.json"))
    absent = [int(name) for name in names if name.isdecimal() and not has_revlog(root, int(name))]
    return next((user for user, facts in _readable(root, sorted(absent)) if _is_same(facts, info)), None)


def same_person(root: Path, reviews: TimedReviews) -> tuple[int, int, int] | None:
    """The user who shares most of his reviews with these, more than half of them, or None.

    Reviews are compared by their times in milliseconds, which rarely coincide for two people.

    Returns:
        The user, the number of shared reviews, and the number of the user's reviews.
    """
    ours = _marks(reviews.time_ms, reviews.rating)
    best: tuple[int, int, int] | None = None
    for user, _ in _readable(root, list_collections(root)):
        theirs = _marks_of(root, user)
        shared = int(np.isin(theirs, ours).sum())
        if 2 * shared > len(theirs) and (best is None or shared >= best[1]):
            best = user, shared, len(theirs)
    return best


def _readable(root: Path, users: list[int]) -> Iterator[tuple[int, CollectionInfo]]:
    """The users whose facts can be read. Unreadable ones must not prevent an import."""
    for user in users:
        try:
            info = read_info(root, user)
        except RwkvError:
            continue
        yield user, info


def _marks_of(root: Path, user: int) -> Ints:
    """The marks of a user's reviews; none if they cannot be read."""
    names = ("review_time", "rating")
    with suppress(RwkvError):
        columns = read_columns(root, "revlogs", user, names)
        if columns is not None:
            return _marks(*(integers(columns[name], name, "") for name in names))
    return np.zeros(0, np.int64)


def _is_same(theirs: CollectionInfo, ours: CollectionInfo) -> bool:
    facts = ("sha256", "timezone", "rollover_hour", "elapsed", "grades")
    counts = theirs.counts.keys() & ours.counts.keys() - _BY_NOW
    return all(getattr(theirs, name) == getattr(ours, name) for name in facts) and all(
        theirs.counts[name] == ours.counts[name] for name in counts
    )


def _marks(time_ms: Ints, rating: Ints) -> Ints:
    return time_ms * 8 + rating
