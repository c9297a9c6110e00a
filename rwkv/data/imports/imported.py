"""An imported source of reviews, of any kind, and how it is written as a user of a folder."""

import re
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.collection import CardList, Collection, CollectionInfo, Texts, write_collection
from rwkv.data.days import DayClock
from rwkv.data.history import order_by_card
from rwkv.data.revlogs import has_revlog, write_tables
from rwkv.data.tables import PARQUET, Columns, table_files
from rwkv.errors import InputError
from rwkv.plurals import form

# The rules of an import by name, in the order of the summary: what they count, if the line does not belong to that
# above, and their effect.
RULES = {
    "entries": ("entry", " in the source"),
    "doubled_rows": ("duplicate row", ": dropped"),
    "in_the_future": ("review", " dated after the import by a wrong clock: dropped"),
    "manual_entries": ("manual entry", " (set due date, forget, rescheduling): dropped"),
    "impossible_ratings": ("rating", " other than 1 to 4: dropped"),
    "cram_answers": ("answer", " in filtered decks that do not reschedule: dropped"),
    "forgotten": ("review", " of cards that were reset (forget) and not learned again: dropped"),
    "without_new_start": ("review", " of cards whose first learning step is missing: dropped"),
    "before_last_new_start": ("review", " before the card's last new start: dropped"),
    "reviews": ("review", " imported"),
    "mapped_ratings": ("", "  with the old scheduler's buttons while learning: mapped, 2 to Good, 3 to Easy"),
    "of_deleted_cards": ("", "  of deleted cards: kept"),
    "negative_durations": ("", "  with a negative duration: set to 0"),
    "over_60_s": ("", "  longer than 60 s: kept as recorded"),
    "days_studied": ("day", " with reviews"),
    "reviewed_cards": ("card", " with reviews"),
    "cards": ("existing card", ""),
    "new_cards": ("", "  new"),
    "reset_cards": ("", "    with reviews: reset by an old version of Anki, which wrote no entry"),
    "cards_without_history": ("", "  not new, but without reviews that count"),
    "suspended_cards": ("", "  suspended"),
    "decks": ("deck", " with cards"),
    "presets": ("preset", " of these decks"),
}

_LONG_MS = 60_000
_STAGING = ".import-"
_UNSAYABLE = re.compile("[\ud800-\udfff]")

# The meaning of elapsed_seconds: from answer to answer as in the published data, or to the display of the question.
ELAPSED = ("published", "start")
# The largest value of Anki's field for durations.
LONGEST_MS = 2**32 - 1


def rule_text(name: str, count: int) -> str:
    """The words after the count of a rule of RULES."""
    noun, effect = RULES[name]
    return (form(count, noun) if noun else "") + effect


@dataclass(frozen=True)
class TimedReviews:
    """Reviews in order of time, int64 [n > 0]. The first review of every card is a new start.

    Attributes:
        time_ms: The end of the answer in epoch milliseconds.
        rating, state: As in spec 1.
    """

    card_id: Ints
    time_ms: Ints
    rating: Ints
    state: Ints
    duration_ms: Ints


@dataclass(frozen=True)
class ImportChoices:
    """The options of an import. None uses the source's own value.

    Attributes:
        elapsed: The meaning of elapsed_seconds, one of ELAPSED.
        grades: "auto" decides by the answers which scheduler's buttons they have, "raw" keeps all ratings as recorded,
            "old" maps all from the old scheduler's buttons.
        name: The person's name.

    Raises:
        InputError: The time zone or hour is invalid, or the name is blank.
    """

    timezone: str | None = None
    rollover_hour: int | None = None
    elapsed: str = "published"
    grades: str = "auto"
    name: str | None = None

    def __post_init__(self) -> None:
        DayClock(self.timezone or "UTC", self.rollover_hour or 0)
        if self.name is not None and not self.name.strip():
            hint = "choose a name, or omit it"
            raise InputError("The name is blank.", where="`name`", got=repr(self.name), hint=hint)


@dataclass(frozen=True)
class ImportedUser:
    """An imported source.

    Attributes:
        cards: The table of spec 1 with a row for each card of `card_list`; empty if notes and decks are unknown.
        counts: Effects of the reader's rules, by name in RULES.
        notices: Further notices.
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


def facts_of(imported: ImportedUser, elapsed: str, now: datetime) -> CollectionInfo:
    """The facts to record about an import."""
    first_s, last_s = (int(imported.reviews.time_ms[place] // 1000) for place in (0, -1))
    counts = imported.counts | _totals(imported)
    return CollectionInfo(
        source=writable(imported.source),
        sha256=imported.sha256,
        kind=imported.kind,
        name=writable(imported.name),
        day_start_s=imported.clock.day_start_s(first_s),
        rollover_hour=imported.clock.rollover_hour,
        timezone=imported.clock.timezone,
        elapsed=elapsed,
        grades=imported.grades,
        has_fsrs=imported.has_fsrs,
        fsrs_params={writable(name): params for name, params in imported.fsrs_params.items()},
        counts={name: counts[name] for name in RULES if name in counts},
        imported_at=now.isoformat(timespec="seconds"),
        last_review_s=last_s,
    )


def write_import(root: Path, user: int, imported: ImportedUser, info: CollectionInfo, ending: str = PARQUET) -> None:
    """Write a user's tables, perhaps replacing an earlier import. The revlog appears last.

    If an error occurs before everything is written, nothing changes. ending: PARQUET or PACKED.
    """
    cards = imported.card_list
    note, deck, preset = map(_writable_texts, (cards.note, cards.deck, cards.preset))
    tags = None if cards.tags is None else _writable_texts(cards.tags)
    cards = replace(cards, note=note, deck=deck, preset=preset, tags=tags)
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=_STAGING, dir=root) as folder:
        staging = Path(folder)
        write_collection(staging, Collection(user, info, cards), ending)
        revlog = review_columns(imported.reviews, imported.clock, info.elapsed)
        write_tables(staging, user, revlog, imported.cards, imported.decks, ending)
        # A user without a revlog does not exist, so nobody reads tables of two imports together.
        for earlier in table_files(root / "revlogs" / f"user_id={user}"):
            earlier.unlink()
        files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
        # The facts come first, so that the number is recognised after a kill.
        for file in sorted(files, key=lambda file: (file.parts[0] == "revlogs", file.suffix != ".json")):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (staging / file).replace(root / file)


def remove_leftovers(root: Path) -> None:
    """Remove unfinished files of killed imports. The caller must be the only writer in `root`."""
    for folder in root.glob(f"{_STAGING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def writable(text: str) -> str:
    """A name without characters that UTF-8 cannot encode. File names may be any bytes."""
    return _UNSAYABLE.sub("\ufffd", text)


def _writable_texts(texts: Texts) -> Texts:
    return np.array([writable(text) for text in texts.tolist()], object)


def next_user(root: Path) -> int:
    """The number after the last complete user."""
    numbers = (folder.name.removeprefix("user_id=") for folder in root.glob("revlogs/user_id=*"))
    users = (int(number) for number in numbers if number.isdecimal())
    return max((user for user in users if has_revlog(root, user)), default=0) + 1


def _totals(imported: ImportedUser) -> dict[str, int]:
    """The counts that are computed in the same way for every source."""
    reviews, cards = imported.reviews, imported.card_list
    is_reviewed = np.isin(cards.card_id, reviews.card_id)
    return {
        "reviews": len(reviews.card_id),
        "of_deleted_cards": int((~np.isin(reviews.card_id, cards.card_id)).sum()),
        "over_60_s": int((reviews.duration_ms > _LONG_MS).sum()),
        "days_studied": len(np.unique(imported.clock.days(reviews.time_ms // 1000))),
        "reviewed_cards": len(np.unique(reviews.card_id)),
        "cards": len(cards),
        "new_cards": int(cards.is_new.sum()),
        "reset_cards": int((cards.is_new & is_reviewed).sum()),
        "cards_without_history": int((~cards.is_new & ~is_reviewed).sum()),
        "suspended_cards": int(cards.is_suspended.sum()),
        "decks": len(set(cards.deck.tolist()) - {""}),
        "presets": len(set(cards.preset.tolist()) - {""}),
    }


def review_columns(reviews: TimedReviews, clock: DayClock, elapsed: str) -> Columns:
    """The columns of a revlog with review_time. elapsed: one of ELAPSED."""
    number = clock.days(reviews.time_ms // 1000)
    # In a zone with summer time, a rollover in the repeated hour could occur twice.
    day = np.maximum.accumulate(number) - number[0]
    before = order_by_card(reviews.card_id).previous
    asked_ms = reviews.time_ms - (reviews.duration_ms if elapsed == "start" else 0)
    elapsed_s = np.maximum(0, asked_ms - reviews.time_ms[before]) // 1000
    return {
        "card_id": reviews.card_id,
        "day_offset": day,
        "rating": reviews.rating,
        "state": reviews.state,
        "duration": reviews.duration_ms,
        "elapsed_days": np.where(before < 0, -1, day - day[before]),
        "elapsed_seconds": np.where(before < 0, -1, elapsed_s),
        "review_time": reviews.time_ms,
    }
