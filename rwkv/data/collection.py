"""The facts of an imported collection besides its reviews: names, decks, presets, due days and source.

DIR/collection/user_id=N/ has cards.parquet, with a row for each existing card, and info.json. The folder DIR also has
the three tables of spec 1. Its revlogs have a further column review_time. Source: docs/formats.md.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.days import EARLIEST_S, LATEST_S, DayClock
from rwkv.data.next_step import with_next_step
from rwkv.data.revlogs import has_revlog
from rwkv.data.tables import PARQUET, flags, integers, read_columns, read_file, reals, table_files, texts, write_columns
from rwkv.errors import HistoryError, InputError
from rwkv.files import file_errors, replacing

Texts = npt.NDArray[np.object_]

FORMAT_VERSION = 1

_CARDS = "cards"

# Anki's default, for cards without a preset.
DEFAULT_RETENTION = 0.9

_INTEGERS = ("card_id", "note_id", "deck_id", "interval_days")
_TEXTS = ("note", "deck", "preset")
_OPTIONAL = ("tags",)
_FLAGS = ("is_new", "is_suspended")
_FLOATS = ("due_day", "desired_retention")

# A whole number and a number in JSON, without booleans.
_NUMBERS = {int: (int,), float: (int, float)}


@dataclass(frozen=True)
class CollectionInfo:
    """A collection's source, and how it was read.

    Attributes:
        source, sha256, kind: The file's name, its hash, and "colpkg", "apkg", "anki2" or "csv".
        name: The person's name.
        day_start_s: Epoch seconds at which day_offset 0 begins.
        timezone: "UTC+02:00" or an IANA name.
        rollover_hour: The hour at which days begin.
        elapsed: "published" (elapsed_seconds from answer to answer) or "start" (to the moment the question was shown).
        grades: "as recorded", "old scheduler, mapped", or the latter with "in part".
        fsrs_params: FSRS parameters by preset.
        counts: The number of entries that each rule of the import affected.
        imported_at: ISO 8601 in UTC.
        last_review_s: Epoch seconds of the last review; 0 in folders of earlier versions.
    """

    source: str
    sha256: str
    kind: str
    name: str
    day_start_s: int
    rollover_hour: int
    timezone: str
    elapsed: str
    grades: str
    has_fsrs: bool
    fsrs_params: dict[str, list[float]]
    counts: dict[str, int]
    imported_at: str
    last_review_s: int = 0
    format_version: int = FORMAT_VERSION

    @property
    def clock(self) -> DayClock:
        """The clock of the collection's days."""
        return DayClock(self.timezone, self.rollover_hour)


@dataclass(frozen=True)
class CardList:
    """The existing cards, reviewed or not, in columns [cards] by ascending card_id.

    Attributes:
        card_id, note_id, deck_id: Anki's ids, int64.
        note, deck, preset: Names as str objects: the note's text, the deck's full name "A::B", the preset.
        due_day: Anki's due day as a day_offset, float64; NaN if unset.
        interval_days: Anki's interval, int64.
        desired_retention: float64 in (0, 1).
        tags: The note's tags as str objects, with a space before and after each tag; None if not recorded.
    """

    card_id: Ints
    note_id: Ints
    deck_id: Ints
    note: Texts
    deck: Texts
    preset: Texts
    due_day: Floats
    interval_days: Ints
    is_new: Bools
    is_suspended: Bools
    desired_retention: Floats
    tags: Texts | None = None

    def __len__(self) -> int:
        return len(self.card_id)


@dataclass(frozen=True)
class Collection:
    """One user's collection besides its reviews."""

    user: int
    info: CollectionInfo
    cards: CardList


def list_collections(root: Path) -> list[int]:
    """The users of a folder with a complete imported collection, ascending. A plain dataset has none."""
    names = (path.parent.name.removeprefix("user_id=") for path in root.glob("collection/user_id=*/info.json"))
    return sorted(int(name) for name in names if name.isdecimal() and has_revlog(root, int(name)))


def write_collection(root: Path, collection: Collection, ending: str = PARQUET) -> None:
    """Write a user's collection. info.json comes last, and marks it as complete. ending: PARQUET or PACKED."""
    folder = _folder(root, collection.user)
    columns = {name: column for name, column in vars(collection.cards).items() if column is not None}
    no_day = np.isnan(collection.cards.due_day)
    columns["due_day"] = np.ma.MaskedArray(np.where(no_day, 0, collection.cards.due_day).astype(np.int64), no_day)
    write_columns(folder / f"{_CARDS}{ending}", columns)
    with replacing(folder / "info.json") as partial:
        partial.write_text(json.dumps(asdict(collection.info), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@with_next_step
def read_collection(root: Path, user: int) -> Collection:
    """Read a user's collection.

    Raises:
        HistoryError: The user has no collection, or it is damaged.
        InputError: Another version wrote it.
    """
    info, files = read_info(root, user), table_files(_folder(root, user))
    path = next((file for file in files if file.stem == _CARDS), _folder(root, user) / f"{_CARDS}{PARQUET}")
    return Collection(user, info, _read_cards(path))


@with_next_step
def read_info(root: Path, user: int) -> CollectionInfo:
    """Read the facts of a user's collection. Raises the errors of `read_collection`."""
    path = _folder(root, user) / "info.json"
    if not path.is_file():
        hint = "import a collection with `rwkv import`; a plain dataset has no names"
        raise HistoryError("The user has no collection.", where=str(path), hint=hint)
    try:
        with file_errors(path):
            stated = json.loads(path.read_text(encoding="utf-8"))
        version = stated["format_version"]
        if version != FORMAT_VERSION:
            raise InputError(
                "The folder was written by another version of `rwkv import`.",
                where=str(path),
                got=str(version),
                expected=str(FORMAT_VERSION),
                hint="import the collection again into an empty folder",
            )
        info = CollectionInfo(**stated)
        check_kinds(info)
        check_calendar(info.timezone, info.rollover_hour, info.day_start_s, info.last_review_s)
        return info
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HistoryError("The facts of a collection cannot be read.", where=str(path), got=str(error)) from error


def day_of(info: CollectionInfo, epoch_s: float) -> int:
    """The day_offset of a moment by the collection's clock."""
    return int(days_of(info, np.array([int(epoch_s // 1)]))[0])


def days_of(info: CollectionInfo, epoch_s: Ints) -> Ints:
    """The day_offset of many moments [n]."""
    return info.clock.days(epoch_s) - info.clock.days(np.array([info.day_start_s]))[0]


@with_next_step
def review_times(root: Path, user: int) -> Ints:
    """The end of each row of a user's revlog in epoch milliseconds, int64 [rows].

    Raises:
        HistoryError: The revlog has no review_time, because `rwkv import` did not write it.
    """
    where = f"user {user}, {root / 'revlogs' / f'user_id={user}'}"
    columns = read_columns(root, "revlogs", user, ("review_time",))
    if columns is None:
        raise HistoryError("The user has no revlog.", where=where)
    time_ms = integers(columns["review_time"], "review_time", where)
    strange = time_ms[(time_ms < EARLIEST_S * 1000) | (time_ms > LATEST_S * 1000)]
    if len(strange):
        raise HistoryError("A review_time is out of range.", where=where, got=str(strange[0]), expected="milliseconds")
    return time_ms


def _folder(root: Path, user: int) -> Path:
    return root / "collection" / f"user_id={user}"


def _read_cards(path: Path) -> CardList:
    where = str(path)
    names = tuple(field.name for field in fields(CardList) if field.name not in _OPTIONAL)
    table = read_file(path, where, names, _OPTIONAL)
    columns: dict[str, npt.NDArray[Any]] = {}
    for kind, read in ((_INTEGERS, integers), (_TEXTS, texts), (_OPTIONAL, texts), (_FLAGS, flags), (_FLOATS, reals)):
        present = (name for name in kind if name in table)
        columns |= {name: read(table[name], name, where) for name in present}
    if np.any(columns["card_id"][1:] <= columns["card_id"][:-1]):
        raise HistoryError("Column card_id is not ascending.", where=where, expected="each card once")
    retention = columns["desired_retention"]
    if not np.all(is_within := (retention > 0) & (retention < 1)):
        got, expected = str(retention[~is_within][0]), "more than 0, less than 1"
        raise HistoryError("A desired_retention is out of range.", where=where, got=got, expected=expected)
    return CardList(**columns)


def check_kinds(facts: Any) -> None:
    """Check the values of a dataclass against its annotations. Raises TypeError, which names the field."""
    for field in fields(facts):
        value = getattr(facts, field.name)
        if not _is_a(value, field.type):
            expected = getattr(field.type, "__name__", "") if not get_args(field.type) else str(field.type)
            raise TypeError(f"{field.name} is {value!r:.80}, not {expected}")


def check_calendar(timezone: str, rollover_hour: int, *moments_s: int) -> None:
    """Raise ValueError if the zone or hour is invalid, or a moment is out of range."""
    try:
        DayClock(timezone, rollover_hour)
    except InputError as error:
        raise ValueError(f"{error.what} {timezone!r:.80}, {rollover_hour} o'clock") from error
    strange = [epoch_s for epoch_s in moments_s if not EARLIEST_S <= epoch_s <= LATEST_S]
    if strange:
        raise ValueError(f"a moment is out of range: {strange[0]} seconds since 1970")


def _is_a(value: object, kind: Any) -> bool:
    if get_origin(kind) is dict:
        of_key, of_value = get_args(kind)
        return isinstance(value, dict) and all(_is_a(key, of_key) and _is_a(it, of_value) for key, it in value.items())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(it, get_args(kind)[0]) for it in value)
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, kind)
