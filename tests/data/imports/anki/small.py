"""Small collections written straight into SQLite, of the old schema, for what Anki's scheduler does not make."""

import json
import sqlite3
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE col (id INTEGER PRIMARY KEY, crt INTEGER, mod INTEGER, scm INTEGER, ver INTEGER, dty INTEGER, usn INTEGER,
    ls INTEGER, conf TEXT, models TEXT, decks TEXT, dconf TEXT, tags TEXT);
CREATE TABLE notes (id INTEGER PRIMARY KEY, guid TEXT, mid INTEGER, mod INTEGER, usn INTEGER, tags TEXT, flds TEXT,
    sfld INTEGER, csum INTEGER, flags INTEGER, data TEXT);
CREATE TABLE cards (id INTEGER PRIMARY KEY, nid INTEGER, did INTEGER, ord INTEGER, mod INTEGER, usn INTEGER,
    type INTEGER, queue INTEGER, due INTEGER, ivl INTEGER, factor INTEGER, reps INTEGER, lapses INTEGER, left INTEGER,
    odue INTEGER, odid INTEGER, flags INTEGER, data TEXT);
CREATE TABLE revlog (id INTEGER PRIMARY KEY, cid INTEGER, usn INTEGER, ease INTEGER, ivl INTEGER, lastIvl INTEGER,
    factor INTEGER, time INTEGER, type INTEGER);
CREATE TABLE graves (usn INTEGER, oid INTEGER, type INTEGER);
"""

CREATED_S = 1_600_056_000  # 14 September 2020, 4:00 UTC
CONFIG = {"schedVer": 2, "rollover": 4, "creationOffset": 0, "localOffset": 0}

_TODAY = {name: [0, 0] for name in ("lrnToday", "revToday", "newToday", "timeToday")}
_DECK = {"id": 1, "mod": 0, "name": "Default", "usn": 0, "collapsed": False, "desc": "", "dyn": 0, "conf": 1} | _TODAY
_PRESET = {
    "id": 1,
    "mod": 0,
    "name": "Default",
    "usn": 0,
    "maxTaken": 60,
    "autoplay": True,
    "timer": 0,
    "replayq": True,
    "new": {"bury": False, "delays": [1, 10], "initialFactor": 2500, "ints": [1, 4, 0], "order": 1, "perDay": 20},
    "rev": {"bury": False, "ease4": 1.3, "ivlFct": 1, "maxIvl": 36500, "perDay": 200},
    "lapse": {"delays": [10], "leechAction": 1, "leechFails": 8, "minInt": 1, "mult": 0},
}

# (id, card, ease, type) and perhaps the interval that followed, or 1; factor 2500 for all but learning steps, 5 s each
LongReview = tuple[int, int, int, int, int]
Review = tuple[int, int, int, int] | LongReview


def write_collection_file(
    path: Path,
    reviews: Sequence[Review],
    config: Mapping[str, Any] = CONFIG,
    created_s: int = CREATED_S,
    schema: int = 11,
    deck: Mapping[str, Any] | None = None,
    preset: Mapping[str, Any] | None = None,
) -> Path:
    """A collection of the old schema with these reviews, and a card and note for each card in them.

    deck, preset: what is set otherwise in its only deck and its options.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_SCHEMA)
        database.execute(
            "INSERT INTO col VALUES (1, ?, 0, 0, ?, 0, 0, 0, ?, '{}', ?, ?, '{}')",
            (
                created_s,
                schema,
                json.dumps(config),
                json.dumps({"1": _DECK | dict(deck or {})}),
                json.dumps({"1": _PRESET | dict(preset or {})}),
            ),
        )
        database.executemany(
            "INSERT INTO revlog VALUES (?, ?, 0, ?, ?, 1, ?, 5000, ?)",
            [
                (time_ms, card, ease, interval[0] if interval else 1, 2500 * (kind != 0), kind)
                for time_ms, card, ease, kind, *interval in reviews
            ],
        )
        cards = sorted({review[1] for review in reviews})
        database.executemany(
            "INSERT INTO notes VALUES (?, '', 1, 0, 0, '', ?, 0, 0, 0, '')",
            [(card + 1, f"note {card}\x1fback") for card in cards],
        )
        database.executemany(
            "INSERT INTO cards VALUES (?, ?, 1, 0, 0, 0, 2, 2, 7, 3, 2500, 1, 0, 0, 0, 0, 0, '')",
            [(card, card + 1) for card in cards],
        )
    return path


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip archive of these names and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
