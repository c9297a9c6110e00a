"""Import Anki's tables in CSV files: revlog, and optionally cards, notes and col.

The rows are written to a database of the old schema, which is read like any collection. Source: Anki's schema11.sql.
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

from rwkv.data.csv_columns import bad_cell, read_csv_columns, whole_numbers
from rwkv.data.csv_text import CsvText, is_text, name_without_endings, read_csv_text
from rwkv.data.imports.anki.archive import OpenedSource
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.csv.reviews import reviewed_cards
from rwkv.data.imports.imported import ImportChoices, ImportedUser
from rwkv.errors import InputError
from rwkv.files import unchanged
from rwkv.plurals import counted

# Required columns, further numbers and texts of each table. Missing ones are 0 or "".
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
# Current collections have separate tables for these.
_NO_SETTINGS = {"conf": "{}", "decks": "{}", "dconf": "{}", "models": "{}", "tags": "{}"}
_INSERTED_TOGETHER = 20_000


def is_dump(csv: CsvText) -> bool:
    """Whether a CSV file is Anki's revlog."""
    return {"id", "cid", "ease"} <= set(csv.names)


def dumps_in(folder: Path) -> dict[str, Path]:
    """The files of a folder with the names of Anki's tables, packed or not.

    Empty without a revlog, or if the folder also has a collection.
    """
    files: dict[str, Path] = {}
    if (folder / _COLLECTION).exists():
        return files
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        table = name_without_endings(file).lower()
        if table in _TABLES and table != file.name.lower() and file.is_file() and is_text(file):
            if table in files:
                got = f"{files[table].name} and {file.name}"
                raise InputError("The folder has a table twice.", where=str(folder), got=got, hint="remove one of them")
            files[table] = file
    return files if "revlog" in files else {}


def read_dumps(files: dict[str, Path], source: Path, choices: ImportChoices) -> ImportedUser:
    """Read dumped tables.

    Without `col`, days begin at 4 o'clock UTC, unless chosen otherwise. Without `cards`, the cards are those with
    reviews.

    Args:
        files: The files by table, with a revlog.
        source: The file or folder on the command line.
        choices: The import's options.

    Raises:
        InputError: A table is damaged or incomplete. The error names file, line and column.
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
    """Insert the rows of a dump. Returns notices."""
    needed, more, texts = _TABLES[table]
    lower = {name.lower(): name for name in (*needed, *more, *texts)}
    columns = {lower[name]: column for name, column in read_csv_columns(csv, list(lower), texts).items()}
    lacking = [name for name in needed if name not in columns]
    if lacking:
        what = f"A column is missing from the table {table}: {', '.join(lacking)}."
        got, expected = ", ".join(csv.names[:20]), ", ".join(needed)
        raise InputError(what, where=csv.where, got=got, expected=expected, hint="export the whole table again")
    rows = len(columns[needed[0]])
    values: list[npt.NDArray[Any]] = []
    for name in (*needed, *more):
        numbers, missing = np.zeros(rows, np.int64), np.zeros(rows, bool)
        if name in columns:
            numbers, missing = whole_numbers(columns[name], name, csv)
        if name in needed and missing.any():
            raise bad_cell(columns[name], int(np.argmax(missing)), name, csv, "a whole number")
        values.append(numbers)
    values += [np.array(columns[name].tolist() if name in columns else [""] * rows, object) for name in texts]
    insert = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(values))})"
    before = connection.total_changes
    for start in range(0, rows, _INSERTED_TOGETHER):
        part = (column[start : start + _INSERTED_TOGETHER].tolist() for column in values)
        connection.executemany(insert, zip(*part, strict=True))
    doubled = rows - (connection.total_changes - before)
    notices = (f"{counted(doubled, 'row')} of {table} left out, because of repeated ids",) if doubled else ()
    return (*csv.notices, *notices)


def _settle(
    connection: sqlite3.Connection, has_col: bool, choices: ImportChoices
) -> tuple[tuple[str, ...], ImportChoices]:
    """Complete the settings with defaults. Returns notices, and the options for the import."""
    if not has_col:
        connection.execute("INSERT INTO col (crt) VALUES (0)")
    connection.execute(f"UPDATE col SET ver = {_OLD_SCHEMA}")
    for name, value in _NO_SETTINGS.items():
        connection.execute(f"UPDATE col SET {name} = ? WHERE ifnull({name}, '') = ''", (value,))
    if has_col or (choices.timezone and choices.rollover_hour is not None):
        return (), choices
    notices = (
        f"the tables do not record the time zone and the beginning of the day; assuming {_TIMEZONE} and {_ROLLOVER} "
        "o'clock unless chosen otherwise (see `timezone` and `rollover_hour`)",
    )
    hour = _ROLLOVER if choices.rollover_hour is None else choices.rollover_hour
    return notices, replace(choices, timezone=choices.timezone or _TIMEZONE, rollover_hour=hour)
