"""Read reviews, cards and notes from a collection's SQLite file, opened so that SQLite cannot write or lock."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.collection import Texts
from rwkv.data.imports.anki.note_names import note_name
from rwkv.data.imports.imported import LONGEST_MS
from rwkv.errors import InputError

_TABLES = {"col", "revlog", "cards", "notes"}
_ROWS = 20_000
_LAST_KIND = 5

# Old clients and add-ons have written fractions and nulls into integer columns.
_INTEGER = "CAST(ifnull({}, 0) AS INTEGER)"

# Only the beginning of a text is read, so that fields of megabytes cost little.
_TEXT = "substr(CAST(ifnull({}, '') AS TEXT), 1, 8000)"

_HINT = "check it in Anki with Tools > Check Database, or export it again"
_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class RevlogRows:
    """All rows of Anki's table `revlog`, ascending by time, int64 [n].

    Attributes:
        time_ms: The id, which is the time of the answer.
        interval: The interval after the answer in days, or negative in seconds.
        factor: The ease; 0 for a reset, and for an answer that did not reschedule.
        kind: 0 learning, 1 review, 2 relearning, 3 filtered, 4 manual, 5 rescheduled.
    """

    time_ms: Ints
    card_id: Ints
    ease: Ints
    interval: Ints
    factor: Ints
    duration_ms: Ints
    kind: Ints


@dataclass(frozen=True)
class CardRows:
    """Anki's table `cards`, ascending by id, int64 [n]. deck_id and due are those of the home deck."""

    card_id: Ints
    note_id: Ints
    deck_id: Ints
    kind: Ints
    queue: Ints
    due: Ints
    interval: Ints


@dataclass(frozen=True)
class NoteNames:
    """Names of notes.

    Attributes:
        note_id: Ascending, int64 [notes].
        name, tags: str objects [notes], tags as in CardList.
        damage: Why other notes have no name, or "".
    """

    note_id: Ints
    name: Texts
    tags: Texts
    damage: str


@contextmanager
def connected(path: Path, where: str) -> Iterator[sqlite3.Connection]:
    """Open the database read-only. Raises InputError if it is not a collection, or damaged."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with part(where, "its tables"), closing(sqlite3.connect(uri, uri=True)) as database:
        # Anki's collation of names; for reading, any order works.
        database.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        database.text_factory = lambda raw: raw.decode(errors="replace")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= _TABLES:
            got = ", ".join(sorted(tables)[:8]) or "no tables"
            hint = "choose the collection: an export of Anki, or collection.anki2 in the profile's folder"
            raise InputError("The database is not an Anki collection.", where=where, got=got, hint=hint)
        yield database


def read_revlog(database: sqlite3.Connection) -> RevlogRows:
    """Read all rows in order of time. As in Anki, a kind or a duration out of range becomes 0.

    Source: rslib/src/storage/revlog/mod.rs of Anki (row_to_revlog_entry).
    """
    rows = RevlogRows(*_integers(database, "revlog", ("id", "cid", "ease", "ivl", "factor", "time", "type")))
    kind = rows.kind & 0xFF  # Anki reads the lowest byte
    is_held = (rows.duration_ms >= 0) & (rows.duration_ms <= LONGEST_MS)
    return replace(rows, kind=np.where(kind <= _LAST_KIND, kind, 0), duration_ms=np.where(is_held, rows.duration_ms, 0))


def read_cards(database: sqlite3.Connection) -> CardRows:
    """Read all cards. If a damaged table repeats an id, the first row counts."""
    # While a card is in a filtered deck, odid is its home deck, and odue its due day there, if set.
    home = "CASE WHEN odid != 0 THEN odid ELSE did END"
    due = "CASE WHEN odid != 0 AND odue != 0 THEN odue ELSE due END"
    columns = _integers(database, "cards", ("id", "nid", home, "type", "queue", due, "ivl"))
    _, first = np.unique(columns[0], return_index=True)
    return CardRows(*columns[:, first])


def read_notes(database: sqlite3.Connection, note_ids: Ints) -> NoteNames:
    """Read the names of all notes. If a page of the table is damaged, those of `note_ids` on other pages."""
    columns = ", ".join((_INTEGER.format("id"), _TEXT.format("flds"), _TEXT.format("tags")))
    ids: list[int] = []
    names: list[str] = []
    tags: list[str] = []

    def take(rows: Iterable[tuple[int, str, str]]) -> None:
        for note_id, fields, written in rows:
            ids.append(note_id)
            names.append(note_name(fields))
            tags.append(f" {' '.join(written.split())} " if written.split() else "")

    damage = ""
    try:
        take(database.execute(f"SELECT {columns} FROM notes ORDER BY id"))
    except sqlite3.Error as error:
        damage = str(error)
        for note_id in np.setdiff1d(note_ids, ids).tolist():
            with suppress(sqlite3.Error):
                take(database.execute(f"SELECT {columns} FROM notes WHERE id = ?", (note_id,)))
    note_id = np.array(ids, np.int64)
    order = np.argsort(note_id, kind="stable")
    return NoteNames(note_id[order], np.array(names, object)[order], np.array(tags, object)[order], damage)


def _integers(database: sqlite3.Connection, table: str, expressions: tuple[str, ...]) -> Ints:
    """Read expressions of a table by id, int64 [expressions, rows], in parts to limit the number of Python objects."""
    # Without indexes, which may be damaged when the table is not.
    (rows,) = database.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()
    columns = np.empty((len(expressions), rows), np.int64)
    cursor = database.execute(f"SELECT {', '.join(map(_INTEGER.format, expressions))} FROM {table} ORDER BY id")
    for start in range(0, rows, _ROWS):
        columns[:, start : start + _ROWS] = np.array(cursor.fetchmany(_ROWS), np.int64).T
    is_ascending = not np.any(np.diff(columns[0]) < 0)
    return columns if is_ascending else columns[:, np.argsort(columns[0], kind="stable")]


@contextmanager
def part(where: str, name: str) -> Iterator[None]:
    """Raise errors about damage in the block as an InputError that names the file and the part."""
    place = f"{where}, {name}"
    try:
        yield
    except sqlite3.Error as error:
        raise InputError("The collection cannot be read.", where=place, got=str(error), hint=_HINT) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        got = f"{type(error).__name__}: {error}"[:_MOST_CHARACTERS]
        raise InputError("A part of the collection is damaged.", where=place, got=got, hint=_HINT) from error
