"""Anki's collections and exports, and its tables as CSV."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import zstandard

from bench.fuzz import values
from bench.fuzz.damage import damaged
from bench.fuzz.subject import Subject
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.dump import dumps_in, read_dumps
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser, facts_of, write_import
from rwkv.data.revlogs import read_history
from tests.data.imports.anki.small import CREATED_S, write_collection_file

_START_MS = CREATED_S * 1000 + 3_600_000
# Three answers of each of 20 cards.
_REVIEWS = [
    (_START_MS + 90_000_000 * turn + 9000 * card, card, 1 + (card + turn) % 4, min(turn, 1), 1 + turn)
    for turn in range(3)
    for card in range(1, 21)
]
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DUMP = ("revlog", "cards", "notes", "col")
# The file with the number of an archive's form, see rwkv.data.imports.anki.archive.
_META = {"collection.anki21": b"\x08\x02", "collection.anki21b": b"\x08\x03"}

Pack = Callable[[bytes], bytes]


@cache
def _database(is_new: bool) -> bytes:
    """A collection of the old schema, or of that of the installed package `anki`."""
    with TemporaryDirectory() as folder:
        path = write_collection_file(Path(folder) / "collection.anki2", _REVIEWS)
        if is_new:
            from anki.collection import Collection

            Collection(str(path)).close()
        content = path.read_bytes()
        # Without the write-ahead log, which a database in memory cannot have.
        return content[:18] + b"\1\1" + content[20:]


def _archive(member: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        if member in _META:
            archive.writestr(zipfile.ZipInfo("meta"), _META[member])
        archive.writestr(zipfile.ZipInfo(member), content, compression)
        archive.writestr(zipfile.ZipInfo("media"), b"{}")
    return stream.getvalue()


def _pack_new(content: bytes) -> bytes:
    return _archive("collection.anki21b", zstandard.ZstdCompressor(write_checksum=True).compress(content), 0)


def _make(file: str, pack: Pack, is_new: bool, folder: Path) -> None:
    folder.mkdir()
    (folder / file).write_bytes(pack(_database(is_new)))


def _read(file: str, by_anki: bool | None, folder: Path) -> object:
    with opened(folder / file) as source:
        user = read_anki(source, ImportChoices(), by_anki, int(1000 * _NOW.timestamp()))
    return _imported(folder, user)


def _imported(folder: Path, user: ImportedUser) -> object:
    """What was imported, after it was written and read as a history."""
    write_import(folder / "out", 1, user, facts_of(user, "published", _NOW))
    if len(read_history(folder / "out", 1)) != len(user.reviews.time_ms):
        raise AssertionError("another number of reviews is read than was written")
    return user.reviews, vars(user.clock), user.card_list, user.cards, user.decks, user.grades, user.fsrs_params


_COLUMNS = {
    "col": ("crt", "ver", "conf", "decks", "dconf"),
    "revlog": ("id", "cid", "ease", "ivl", "factor", "time", "type"),
    "cards": ("id", "nid", "did", "type", "queue", "due", "ivl", "odue", "odid"),
    "notes": ("flds", "tags"),
    "decks": ("id", "name", "common", "kind"),
    "deck_config": ("id", "name", "config"),
    "config": ("KEY", "val"),
}
_PLACES = [(table, column) for table, columns in _COLUMNS.items() for column in columns]


def _wild(pack: Pack, is_new: bool, folder: Path, rng: Random) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_database(is_new))
        database.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        for _ in range(rng.randint(1, 3)):
            table, column = rng.choice(_PLACES)
            try:
                _change_cells(database, table, column, rng)
            except sqlite3.Error:  # no such table in this schema, or a key twice
                continue
        database.commit()
        return pack(database.serialize())


def _change_cells(database: sqlite3.Connection, table: str, column: str, rng: Random) -> None:
    if rng.random() < 0.05:
        database.execute(rng.choice([f"DROP TABLE {table}", f"ALTER TABLE {table} RENAME {column} TO a"]))
        return
    rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    for row, value in rows if rng.random() < 0.2 else rng.sample(rows, min(len(rows), 1)):
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_cell(value, rng), row))


def _cell(value: object, rng: Random) -> object:
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
        return json.dumps(values.changed(json.loads(value), rng))
    if isinstance(value, bytes) and value and rng.random() < 0.8:
        return damaged(value, rng)
    draws = [values.integer, values.real, values.text, lambda rng: None, lambda rng: rng.randbytes(5)]
    return rng.choice(draws)(rng)


# --- Tables as CSV


def _dump_cells(table: str) -> list[list[str]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_database(False))
        found = database.execute(f"SELECT * FROM {table}")
        return [[column[0] for column in found.description], *([str(cell) for cell in row] for row in found)]


def csv_bytes(rows: list[list[str]], separator: str = ",") -> bytes:
    """Rows as CSV with every cell in quotes."""
    quoted = (separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    return ("\n".join(quoted) + "\n").encode()


def _make_dump(folder: Path) -> None:
    folder.mkdir()
    for table in _DUMP:
        (folder / f"{table}.csv").write_bytes(csv_bytes(_dump_cells(table)))


def _read_dump(folder: Path) -> object:
    return _imported(folder, read_dumps(dumps_in(folder), folder, ImportChoices()))


def _wild_dump(folder: Path, rng: Random) -> bytes:
    return csv_bytes(changed_cells(_dump_cells("revlog"), rng))


def changed_cells(rows: list[list[str]], rng: Random) -> list[list[str]]:
    """A table after some of its cells were replaced, or a column or rows were removed or doubled."""
    for _ in range(rng.randint(1, 3)):
        row = rng.randrange(1, len(rows))
        act = rng.random()
        if act < 0.7:
            column = rng.randrange(len(rows[row]))
            rows[row][column] = rng.choice([str(values.integer(rng)), repr(values.real(rng)), values.text(rng)])
        elif act < 0.8:
            rows[0][rng.randrange(len(rows[0]))] = values.text(rng)
        elif act < 0.9:
            rows.insert(row, rng.choice([rows[row], rows[row][:-1], [*rows[row], "1"], []]))
            rows = [line for line in rows if line] or rows
        elif len(rows) > 3:
            del rows[row]
    return rows


# File, packing, whether of the new schema, whether by Anki's package, has a checksum, share.
_FORMS: tuple[tuple[str, str, Pack, bool, bool | None, bool, float], ...] = (
    ("anki2", "a.anki2", bytes, False, False, False, 1.0),
    ("anki21", "a.colpkg", partial(_archive, "collection.anki21"), False, False, True, 0.5),
    ("colpkg", "a.colpkg", _pack_new, True, False, True, 0.5),
    ("apkg", "a.apkg", partial(_archive, "collection.anki2"), False, False, True, 0.5),
    ("new_anki2", "a.anki2", bytes, True, False, False, 0.5),
    ("by_anki", "a.anki2", bytes, True, None, False, 0.2),
)
SUBJECTS = (
    *(
        Subject(
            name, file, partial(_make, file, pack, is_new), partial(_read, file, by_anki), partial(_wild, pack, is_new),
            has_checksum, share,
        )
        for name, file, pack, is_new, by_anki, has_checksum, share in _FORMS
    ),
    Subject("dump", "revlog.csv", _make_dump, _read_dump, _wild_dump, share=0.5),
)  # fmt: skip
