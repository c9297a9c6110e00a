"""Tables in files: the only reader and writer of parquet, and the reader of CSV."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from rwkv.data.history import Bools, Ints
from rwkv.errors import HistoryError, InputError
from rwkv.files import replacing

# Column name -> values; masked ones are missing.
Columns = Mapping[str, npt.NDArray[Any]]


def write_columns(path: Path, columns: Columns) -> None:
    """One parquet file; it appears by a rename, so it is there whole or not at all."""
    with replacing(path) as partial:
        pq.write_table(pa.table(dict(columns)), partial)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """The door for what pyarrow meets in damaged files, whichever error it has for it."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError("A parquet file cannot be read.", where=where, got=str(error)) from error


def read_columns(root: Path, kind: str, user: int, names: tuple[str, ...]) -> dict[str, pa.ChunkedArray] | None:
    """The named columns of all files of a user, or None where there is no file."""
    folder = root / kind / f"user_id={user}"
    files = sorted(folder.glob("*.parquet"))
    if not files:
        return None
    tables = [read_file(file, f"user {user}, {file}", names) for file in files]
    with reading(f"user {user}, {folder}"):
        merged = pa.concat_tables(tables, promote_options="permissive")
        return {name: merged[name] for name in names}


def read_file(file: Path, where: str, names: tuple[str, ...]) -> pa.Table:
    """The named columns of one file, each of which must be there once."""
    with reading(where):
        parquet = pq.ParquetFile(file)
        there = parquet.schema_arrow.names
        lacking = [name for name in names if name not in there]
        if lacking:
            raise HistoryError(f"A column is missing: {', '.join(lacking)}.", where=where, got=", ".join(there))
        twice = [name for name in names if there.count(name) > 1]
        if twice:
            raise HistoryError(f"A column occurs twice: {', '.join(twice)}.", where=where, got=", ".join(there))
        return parquet.read(list(names))


def integers(column: pa.ChunkedArray, name: str, where: str) -> Ints:
    """int64 values of a column that may be stored as any number type; no value may be missing or fractional."""
    values, missing = numbers(column, name, where)
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise HistoryError(f"Column {name} has {missing.sum()} missing values.", where=f"{where}, row {row}")
    return values


def numbers(column: pa.ChunkedArray, name: str, where: str) -> tuple[Ints, Bools]:
    """(int64 values, which are missing) of a column; missing values are 0."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise HistoryError(f"Column {name} is not a number.", where=where, got=str(column.type), expected="integers")
    if not pa.types.is_floating(column.type):
        with reading(f"{where}, column {name}"):
            return column.cast(pa.int64()).fill_null(0).to_numpy(), column.is_null().to_numpy()
    floats = column.to_numpy().astype(np.float64)
    missing = np.isnan(floats)
    floats = np.where(missing, 0, floats)
    if not np.all(np.isfinite(floats) & (floats == np.rint(floats)) & (np.abs(floats) < 2**63)):
        raise HistoryError(f"Column {name} holds values that are not integers.", where=where)
    return floats.astype(np.int64), missing


def read_csv_columns(path: Path, texts: tuple[str, ...], numbers: tuple[str, ...]) -> dict[str, pa.ChunkedArray]:
    """Those of the named columns that a CSV file has: texts as text, numbers as float64.

    Raises InputError, which names the row, where it cannot be read.
    """
    types = {**dict.fromkeys(texts, pa.string()), **dict.fromkeys(numbers, pa.float64())}
    options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True)
    try:
        table = pacsv.read_csv(path, convert_options=options)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError("The CSV file cannot be read.", where=str(path), got=str(error)) from error
    return {name: table[name] for name in types if table.schema.names.count(name) == 1}


def ids(column: pa.ChunkedArray, name: str, where: str) -> tuple[Ints, npt.NDArray[np.object_] | None]:
    """(int64 ids, None) of a column of texts that are all integers, else (1, 2, ... by first appearance, the texts)."""
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy())) + 1
        raise HistoryError(f"Column {name} has {column.null_count} missing values.", where=f"{where}, row {row}")
    try:
        return column.cast(pa.int64()).to_numpy(), None
    except pa.ArrowInvalid:
        encoded = column.combine_chunks().dictionary_encode()
        return encoded.indices.to_numpy().astype(np.int64) + 1, np.array(encoded.dictionary.to_pylist(), object)
