"""Anki's tables as CSV (revlog, and perhaps cards, notes and col) -> what is imported of them.

The rows go into a database of the old schema, which is then read as any collection. Source: Anki's schema11.sql.
"""

import sqlite3
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.data.arrow import bad_cell, read_csv_columns, whole_numbers
from rwkv.data.csv_text import CsvText, is_text, name_without_endings, read_csv_text
from rwkv.data.imports.anki.archive import OpenedSource
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.csv.reviews import reviewed_cards
from rwkv.data.imports.imported import ImportChoices, ImportedUser
from rwkv.errors import InputError
from rwkv.files import unchanged

# Of each table the columns that are needed, further numbers, and texts; 0 or "" where a file has none of them.
_TABLES = {
    "revlog": (("id", "cid", "ease", "ivl", "factor", "time", "type"), ("lastIvl",), ()),
    "cards": (("id", "nid", "did", "type", "queue", "due", "ivl"), ("ord", "odue", "odid", "flags"), ("data",)),
    "notes": (("id",), ("mid",), ("flds", "tags")),
    "col": (("crt",), ("ver",), ("conf", "models", "decks", "dconf", "tags")),
}

REVLOG_COLUMNS = _TABLES["revlog"][0]

_OLD_SCHEMA = 11
_COLLECTION = "collection.anki2"
_TIMEZONE, _ROLLOVER = "UTC", 4
# Collections of today have them in tables of their own.
_NO_SETTINGS = {"conf": "{}", "decks": "{}", "dconf": "{}", "models": "{}", "tags": "{}"}
_INSERTED_TOGETHER = 20_000


def is_dump(csv: CsvText) -> bool:
    """Whether a table of text is Anki's revlog."""
    return {"id", "cid", "ease"} <= set(csv.names)


def dumps_in(folder: Path) -> dict[str, Path]:
    """The files of a folder that are named as Anki's tables, packed or not.

    None where there is no revlog, or the collection itself lies beside it.
    """
    files: dict[str, Path] = {}
    if (folder / _COLLECTION).exists():
        return files
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        table = name_without_endings(file).lower()
        if table in _TABLES and table != file.name.lower() and file.is_file() and is_text(file):
            if table in files:
                got = f"{files[table].name} and {file.name}"
                raise InputError("The folder has a table twice.", where=str(folder), got=got, hint="move one away")
            files[table] = file
    return files if "revlog" in files else {}


def read_dumps(files: dict[str, Path], source: Path, choices: ImportChoices) -> ImportedUser:
    """Read dumps of tables by name, among them revlog; source: the file or folder that was given.

    Without `col`, days are UTC's from 4 o'clock, unless they are chosen. Without `cards`, the cards are those that have
    reviews. Raises InputError, which names file, row and column.
    """
    with ExitStack() as stack:
        hashes = [stack.enter_context(unchanged(file)) for file in files.values()]
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rwkv-import-")))
        database = scratch / "unpacked.anki2"
        notices: list[str] = []
        with closing(sqlite3.connect(database)) as connection, connection:
            for table, columns in _TABLES.items():
                names = [name for kind in columns for name in kind]
                key = f", PRIMARY KEY ({names[0]})" if table != "col" else ""
                connection.execute(f"CREATE TABLE {table} ({', '.join(names)}{key})")
                if table in files:
                    notices += _fill(connection, table, read_csv_text(files[table], names))
            has_col, config = connection.execute("SELECT count(*), max(conf) FROM col").fetchone()
            settings_notices, choices = _settle(connection, bool(has_col), choices)
        digest = hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
        opened = OpenedSource(source, digest, "csv", name_without_endings(source), not config, database, scratch)
        user = read_anki(opened, choices, by_anki=False)
    card_list = user.card_list
    if "cards" not in files:
        card_list = reviewed_cards(user.reviews.card_id)
    elif not has_col:  # due days count from the collection's creation
        card_list = replace(card_list, due_day=np.full(len(card_list), np.nan))
    return replace(user, card_list=card_list, notices=(*notices, *settings_notices, *user.notices))


def _fill(connection: sqlite3.Connection, table: str, csv: CsvText) -> tuple[str, ...]:
    """Insert the rows of a dump; returns what was guessed of its text."""
    needed, more, texts = _TABLES[table]
    lower = {name.lower(): name for name in (*needed, *more, *texts)}
    columns = {lower[name]: column for name, column in read_csv_columns(csv, list(lower)).items()}
    lacking = [name for name in needed if name not in columns]
    if lacking:
        what = f"The table {table} lacks a column: {', '.join(lacking)}."
        raise InputError(what, where=csv.where, got=", ".join(csv.names[:20]), expected=", ".join(needed))
    rows = len(columns[needed[0]])
    values: list[npt.NDArray[Any]] = []
    for name in (*needed, *more):
        numbers, missing = np.zeros(rows, np.int64), np.zeros(rows, bool)
        if name in columns:
            numbers, missing = whole_numbers(columns[name], name, csv.where)
        if name in needed and missing.any():
            raise bad_cell(columns[name], int(np.argmax(missing)), name, csv.where, "a whole number")
        values.append(numbers)
    values += [np.array(columns[name].to_pylist() if name in columns else [""] * rows, object) for name in texts]
    insert = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(values))})"
    before = connection.total_changes
    for start in range(0, rows, _INSERTED_TOGETHER):
        part = (column[start : start + _INSERTED_TOGETHER].tolist() for column in values)
        connection.executemany(insert, zip(*part, strict=True))
    doubled = rows - (connection.total_changes - before)
    told = (f"{doubled:,} rows of {table} have an id that came before: left out",) if doubled else ()
    return (*csv.notices, *told)


def _settle(
    connection: sqlite3.Connection, has_col: bool, choices: ImportChoices
) -> tuple[tuple[str, ...], ImportChoices]:
    """Complete the settings, and choose what they do not say; returns what must be said of it."""
    if not has_col:
        connection.execute("INSERT INTO col (crt) VALUES (0)")
    connection.execute(f"UPDATE col SET ver = {_OLD_SCHEMA}")
    for name, value in _NO_SETTINGS.items():
        connection.execute(f"UPDATE col SET {name} = ? WHERE ifnull({name}, '') = ''", (value,))
    if has_col or (choices.timezone and choices.rollover_hour is not None):
        return (), choices
    notices = (
        f"the tables say nothing of time zone and day: {_TIMEZONE}, from {_ROLLOVER} o'clock, is taken where nothing "
        "else is chosen (see --timezone and --rollover)",
    )
    hour = _ROLLOVER if choices.rollover_hour is None else choices.rollover_hour
    return notices, replace(choices, timezone=choices.timezone or _TIMEZONE, rollover_hour=hour)
