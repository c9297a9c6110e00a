"""A collection's SQLite file -> columns of reviews, cards and notes. Opened so that SQLite cannot write or lock."""

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rwkv.data.collection import Texts
from rwkv.data.history import Ints
from rwkv.errors import InputError

_TABLES = {"col", "revlog", "cards", "notes"}
_ROWS = 20_000

# More of a field than this is not looked at, so that a field of megabytes costs nothing.
_FIELD_CHARACTERS = 2000
_NOTE_CHARACTERS = 80

# What a field's HTML has around its words: markup, sounds, and cloze deletions, of which the text in them stays.
_MARKUP = re.compile(
    r"<(style|script)\b.*?</\1>|<!--.*?-->|</?[a-z][^<>]*>?|\[sound:[^\]]*\]", re.DOTALL | re.IGNORECASE
)
_CLOZE = re.compile(r"\{\{c\d+::(.*?)(?:::[^{}]*)?\}\}", re.DOTALL)


@dataclass(frozen=True)
class RevlogRows:
    """Anki's table `revlog`, all rows, ascending by time; int64 [n].

    time_ms: its id, the moment of the answer. kind: 0 learning, 1 review, 2 relearning, 3 filtered, 4 manual,
    5 rescheduled. factor tells a reset and an answer that did not reschedule: both have 0.
    """

    time_ms: Ints
    card_id: Ints
    ease: Ints
    factor: Ints
    duration_ms: Ints
    kind: Ints


@dataclass(frozen=True)
class CardRows:
    """Anki's table `cards`, ascending by id; int64 [n]. deck_id and due: those of home while in a filtered deck."""

    card_id: Ints
    note_id: Ints
    deck_id: Ints
    kind: Ints
    queue: Ints
    due: Ints
    interval: Ints


@contextmanager
def connected(path: Path, where: str) -> Iterator[sqlite3.Connection]:
    """The database, read-only. Raises InputError where it is no collection, or damaged."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            # Anki's own order of names; for reading, any order does.
            database.create_collation("unicase", lambda a, b: (a > b) - (a < b))
            database.text_factory = lambda raw: raw.decode(errors="replace")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= _TABLES:
                got = ", ".join(sorted(tables)[:8]) or "no tables"
                raise InputError("This database is no Anki collection.", where=where, got=got)
            yield database
    except sqlite3.Error as error:
        hint = "let Anki check it with Tools > Check Database, or export it again"
        raise InputError("The collection cannot be read.", where=where, got=str(error), hint=hint) from error


def read_revlog(database: sqlite3.Connection) -> RevlogRows:
    """All rows, in order of time."""
    return RevlogRows(*_integers(database, "revlog", ("id", "cid", "ease", "factor", "time", "type")))


def read_cards(database: sqlite3.Connection) -> CardRows:
    """All cards that exist."""
    # While a card is in a filtered deck, odid is its home, and odue its due day there where it has one.
    home = "CASE WHEN odid != 0 THEN odid ELSE did END"
    due = "CASE WHEN odid != 0 AND odue != 0 THEN odue ELSE due END"
    return CardRows(*_integers(database, "cards", ("id", "nid", home, "type", "queue", due, "ivl")))


def read_notes(database: sqlite3.Connection) -> tuple[Ints, Texts]:
    """(note_id [notes] ascending, the first field of each as plain text)."""
    first_field = f"substr(text, 1, min({_FIELD_CHARACTERS}, instr(text || char(31), char(31)) - 1))"
    notes = "SELECT id, CAST(ifnull(flds, '') AS TEXT) AS text FROM notes ORDER BY id"
    ids: list[int] = []
    texts: list[str] = []
    for note_id, field in database.execute(f"SELECT id, {first_field} FROM ({notes})"):
        ids.append(note_id)
        texts.append(plain_text(field))
    return np.array(ids, np.int64), np.array(texts, object)


def plain_text(field: str) -> str:
    """A field without its HTML, sounds and cloze marks, in one line of at most 80 characters."""
    text = _CLOZE.sub(r"\1", _MARKUP.sub(" ", field))
    text = " ".join(html.unescape(text).split())
    return text if len(text) <= _NOTE_CHARACTERS else text[: _NOTE_CHARACTERS - 1] + "…"


def _integers(database: sqlite3.Connection, table: str, expressions: tuple[str, ...]) -> Ints:
    """int64 [expressions, rows] of a table by id, read in parts so that Python's objects are never many."""
    (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    columns = np.empty((len(expressions), rows), np.int64)
    # Old clients and add-ons have left fractions and nulls in columns of integers.
    cast = ", ".join(f"CAST(ifnull({expression}, 0) AS INTEGER)" for expression in expressions)
    cursor = database.execute(f"SELECT {cast} FROM {table} ORDER BY id")
    for start in range(0, rows, _ROWS):
        columns[:, start : start + _ROWS] = np.array(cursor.fetchmany(_ROWS), np.int64).T
    return columns
