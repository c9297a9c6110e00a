"""What is read of one source of reviews, whatever its kind, and how it becomes a user of a folder."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from rwkv.data.arrow import Columns
from rwkv.data.collection import CardList, Collection, CollectionInfo, write_collection
from rwkv.data.days import DayClock
from rwkv.data.review_columns import TimedReviews, review_columns
from rwkv.data.revlogs import has_revlog, write_tables

# The rules of an import by name, in the order in which they are told, each with what became of what it met.
RULES = {
    "entries": "entries in the source",
    "manual_entries": "manual entries (set due date, forget, rescheduling): dropped",
    "impossible_ratings": "ratings other than 1 to 4: dropped",
    "cram_answers": "answers in filtered decks that do not reschedule: dropped",
    "forgotten": "reviews before a reset (forget) after which the card was not learned again: dropped",
    "without_new_start": "reviews of cards without a learning step, whose beginning is missing: dropped",
    "before_last_new_start": "reviews before their card's last new start: dropped",
    "reviews": "reviews imported",
    "mapped_ratings": "  the old scheduler's buttons while learning: mapped, 2 to Good, 3 to Easy",
    "of_deleted_cards": "  of deleted cards: kept",
    "over_60_s": "  that took over 60 s: kept as recorded",
    "in_the_future": "  dated after the import, by a wrong clock: kept",
    "reviewed_cards": "cards with reviews",
    "cards": "cards that exist",
    "new_cards": "  new",
    "suspended_cards": "  suspended",
}

_LONG_MS = 60_000


@dataclass(frozen=True)
class ImportChoices:
    """What may be chosen; None takes what the source says. elapsed: see review_columns. grades: "auto" or "raw"."""

    timezone: str | None = None
    rollover_hour: int | None = None
    elapsed: str = "published"
    grades: str = "auto"


@dataclass(frozen=True)
class ImportedUser:
    """One source, read. cards: the table of spec 1 with a row for each of `card_list`, or none where notes and decks
    are not known. counts: rules of the reader, names as in RULES. notices: what else should be said.
    """

    source: str
    sha256: str
    kind: str
    name: str
    reviews: TimedReviews
    clock: DayClock
    card_list: CardList
    cards: Columns
    decks: Columns
    grades: str
    has_fsrs: bool
    fsrs_params: dict[str, list[float]]
    counts: dict[str, int]
    notices: tuple[str, ...]


def write_import(root: Path, user: int, imported: ImportedUser, elapsed: str, now: datetime) -> CollectionInfo:
    """Write the user's tables, its revlog last; returns what was recorded of it."""
    first_s = int(imported.reviews.time_ms[0] // 1000)
    counts = imported.counts | _totals(imported, now)
    info = CollectionInfo(
        source=imported.source,
        sha256=imported.sha256,
        kind=imported.kind,
        name=imported.name,
        day_start_s=imported.clock.day_start_s(first_s),
        rollover_hour=imported.clock.rollover_hour,
        timezone=imported.clock.timezone,
        elapsed=elapsed,
        grades=imported.grades,
        has_fsrs=imported.has_fsrs,
        fsrs_params=imported.fsrs_params,
        counts={name: counts[name] for name in RULES if name in counts},
        imported_at=now.isoformat(timespec="seconds"),
    )
    write_collection(root, Collection(user, info, imported.card_list))
    revlog = review_columns(imported.reviews, imported.clock, elapsed)
    write_tables(root, user, revlog, imported.cards, imported.decks)
    return info


def next_user(root: Path) -> int:
    """The number after the last user that is there whole."""
    numbers = (folder.name.removeprefix("user_id=") for folder in root.glob("revlogs/user_id=*"))
    users = (int(number) for number in numbers if number.isdecimal())
    return max((user for user in users if has_revlog(root, user)), default=0) + 1


def _totals(imported: ImportedUser, now: datetime) -> dict[str, int]:
    """What is counted in the same way of every source."""
    reviews, cards = imported.reviews, imported.card_list
    return {
        "reviews": len(reviews.card_id),
        "of_deleted_cards": int((~np.isin(reviews.card_id, cards.card_id)).sum()),
        "over_60_s": int((reviews.duration_ms > _LONG_MS).sum()),
        "in_the_future": int((reviews.time_ms > now.timestamp() * 1000).sum()),
        "reviewed_cards": len(np.unique(reviews.card_id)),
        "cards": len(cards),
        "new_cards": int(cards.is_new.sum()),
        "suspended_cards": int(cards.is_suspended.sum()),
    }
