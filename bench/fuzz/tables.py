"""Tables of histories: parquet files, and the packed columns of a collection that was read."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bench.fuzz import values
from bench.fuzz.subject import Subject, plain
from rwkv.data.codec import StoredHistory, decode_cards, decode_part
from rwkv.data.encoded_user import encode_user
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.data.segments import cut_segment, segment_bounds
from rwkv.data.tables import PACKED, PARQUET, write_columns
from tests.helpers import DECKS, Columns, cards_of, random_revlog

_USER = 1
_REVIEWS, _CARDS = 60, 9
_TABLES = ("revlogs", "cards", "decks")


def _file(table: str, ending: str) -> str:
    return f"{table}/user_id={_USER}/data{ending}"


def _make(ending: str, folder: Path) -> None:
    revlog = random_revlog(1, _REVIEWS, _CARDS)
    tables: tuple[Columns, ...] = (revlog, cards_of(revlog), DECKS)
    for table, columns in zip(_TABLES, tables, strict=True):
        arrays = {name: np.asarray(column) for name, column in columns.items()}
        write_columns(folder / _file(table, ending), arrays)


def _read(folder: Path) -> object:
    """The history, and what the commands compute and store of it."""
    table = read_history(folder, _USER)
    stored = StoredHistory(table, benchmark_keys(table, True, True).mark(table.review_th))
    bounds = segment_bounds(table, _REVIEWS)
    encoded = encode_user(stored, bounds)
    again = decode_part(_USER, encoded.parts[0], decode_cards(encoded.cards)).table
    if plain(again.day_offset) != plain(table.day_offset) or plain(again.elapsed_s) != plain(table.elapsed_s):
        raise AssertionError("the stored history is another one")
    for number, (start, stop, _) in enumerate(bounds.tolist()):
        cut_segment(table, stored.is_key, start, stop, number)
    return table, benchmark_keys(table, False, False)


def _wild_parquet(table: str, folder: Path, rng: Random) -> bytes:
    columns = pq.read_table(folder / _file(table, PARQUET)).to_pydict()
    names = list(columns)
    arrays = {}
    for name in names:
        is_chosen = rng.random() < 1.5 / len(names)
        arrays[name] = _wild_column(columns[name], rng) if is_chosen else pa.array(columns[name])
    named = list(arrays.items())
    if rng.random() < 0.1:
        named.pop(rng.randrange(len(named)))
    if rng.random() < 0.05:
        named.append((rng.choice([rng.choice(names), values.text(rng)]), pa.nulls(len(named[0][1]))))
    if rng.random() < 0.05:
        named = [(name, array.slice(0, 0)) for name, array in named]
    made = pa.Table.from_arrays([array for _, array in named], [name for name, _ in named])
    stream = io.BytesIO()
    pq.write_table(
        made,
        stream,
        compression=rng.choice(["none", "snappy", "zstd", "gzip"]),
        row_group_size=rng.choice([1, 7, 10_000]),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(["1.0", "2.0"]),
    )
    return stream.getvalue()


# Arrow types, and the values that they get where those of the column do not fit.
_TYPES: tuple[tuple[pa.DataType, Callable[[Random], Any]], ...] = (
    (pa.int64(), values.integer),
    (pa.float64(), values.real),
    (pa.string(), values.text),
    (pa.bool_(), lambda rng: rng.random() < 0.5),
    (pa.uint64(), lambda rng: rng.randrange(2**64)),
    (pa.int8(), lambda rng: rng.randrange(-128, 128)),
    (pa.float32(), lambda rng: rng.uniform(-1e30, 1e30)),
    (pa.float16(), lambda rng: np.float16(rng.uniform(-100, 100))),
    (pa.binary(), lambda rng: rng.randbytes(4)),
    (pa.list_(pa.int64()), lambda rng: [values.integer(rng)]),
    (pa.timestamp("ms"), lambda rng: rng.randrange(2**40)),
    (pa.duration("s"), lambda rng: rng.randrange(2**40)),
    (pa.struct([("a", pa.int64())]), lambda rng: {"a": values.integer(rng)}),
    (pa.decimal128(20, 0), lambda rng: rng.randrange(10**19)),
    (pa.null(), lambda rng: None),
)


_NUMBERS = (pa.int64(), pa.float64())


def _wild_column(column: list[Any], rng: Random) -> pa.Array:
    """A few wild values in a column, or a column of another type."""
    kind, draw = rng.choice([_TYPES[0], _TYPES[0], _TYPES[1], rng.choice(_TYPES)])
    share = rng.choice([1 / len(column), 0.1, 1.0]) if kind in _NUMBERS else 1.0
    missing = rng.choice([0.0, 0.0, 0.1])
    wild = [value if rng.random() > share else None if rng.random() < missing else draw(rng) for value in column]
    if kind == pa.int64():
        wild = [None if value is None or value != value else int(value) for value in wild]
    array = pa.array(wild, kind)
    return array.dictionary_encode() if kind == pa.string() and rng.random() < 0.3 else array


_DTYPES = ("i8", "f8", "?", "i4", "u8", "f2", "U5", "S4", "c16", "M8[s]", "i8,f8")


def _wild_packed(folder: Path, rng: Random) -> bytes:
    data = zstandard.decompress((folder / _file("revlogs", PACKED)).read_bytes())
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    for name in rng.sample(list(arrays), rng.randint(1, 2)):
        act = rng.randrange(5)
        if act == 0:
            arrays[name] = np.array([values.integer(rng) for _ in arrays[name]], np.int64)
        elif act == 1:
            arrays[name] = np.array([values.real(rng) for _ in arrays[name]])
        elif act == 2:
            arrays[name] = np.zeros(rng.choice([(), 0, 3, (2, 3), len(arrays[name])]), rng.choice(_DTYPES))
        elif act == 3:
            texts = json.dumps(values.value(rng)).encode()
            arrays[name + ".text"] = np.frombuffer(texts, np.uint8)
        else:
            arrays[name + ".missing"] = np.array([rng.random() < 0.5 for _ in range(rng.choice([2, _REVIEWS]))])
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return zstandard.ZstdCompressor(write_checksum=True).compress(stream.getvalue())


SUBJECTS = (
    *(
        Subject(table, _file(table, PARQUET), partial(_make, PARQUET), _read, partial(_wild_parquet, table))
        for table in _TABLES
    ),
    Subject("columns", _file("revlogs", PACKED), partial(_make, PACKED), _read, _wild_packed, has_checksum=True),
)
