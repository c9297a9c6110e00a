"""Tables in files: the only reader and writer of parquet."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rwkv.data.history import Bools, Ints
from rwkv.errors import HistoryError

# Column name -> values; masked ones are missing.
Columns = Mapping[str, npt.NDArray[Any]]


def write_columns(path: Path, columns: Columns) -> None:
    """One parquet file; it appears by a rename, so it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(pa.table(dict(columns)), partial)
    os.replace(partial, path)


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
