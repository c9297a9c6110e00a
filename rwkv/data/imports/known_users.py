"""Which user of a folder a source of reviews is already: the same import, or an earlier one of the same person."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.arrow import integers, read_columns
from rwkv.data.collection import CollectionInfo, list_collections, read_info
from rwkv.data.imports.imported import TimedReviews
from rwkv.data.revlogs import has_revlog
from rwkv.errors import RwkvError

# Counts that time changes.
_BY_NOW = {"in_the_future"}


def same_import(root: Path, info: CollectionInfo, by_name: bool) -> int | None:
    """The user whose import read the same file in the same way, if there is one. by_name: and who is called so."""
    known = _readable(root, list_collections(root))
    users = [user for user, theirs in known if _is_same(theirs, info) and not (by_name and theirs.name != info.name)]
    return users[-1] if users else None


def unfinished_import(root: Path, info: CollectionInfo) -> int | None:
    """The number that an import of the same file had when it was killed while its tables appeared, if there is one."""
    names = (path.parent.name.removeprefix("user_id=") for path in root.glob("collection/user_id=*/info.json"))
    absent = [int(name) for name in names if name.isdecimal() and not has_revlog(root, int(name))]
    return next((user for user, theirs in _readable(root, sorted(absent)) if _is_same(theirs, info)), None)


def same_person(root: Path, reviews: TimedReviews) -> tuple[int, int, int] | None:
    """(user, how many of the user's reviews are among these, how many there are) of who shares most, above a half.

    Moments of reviews are milliseconds, so those of two people hardly ever meet.
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
    """Those of the users whose facts can be read: the others are no reason to refuse a new one."""
    for user in users:
        try:
            info = read_info(root, user)
        except RwkvError:
            continue
        yield user, info


def _marks_of(root: Path, user: int) -> Ints:
    """Those of a user's reviews; none where they cannot be read."""
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
