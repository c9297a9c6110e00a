"""Tables in parquet files. The only module that uses pyarrow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rwkv.data.tables import Column, Columns, lacking_columns
from rwkv.errors import HistoryError
from rwkv.files import replacing


def parquet_of(columns: Columns) -> bytes:
    """Columns as the bytes of a parquet file."""
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), stream)
    return stream.getvalue().to_pybytes()


def write_columns(path: Path, columns: Columns) -> None:
    """Write a parquet file atomically."""
    # The path as bytes, because file names need not be UTF-8.
    with replacing(path) as partial, pa.OSFile(os.fsencode(partial), "w") as file:
        pq.write_table(pa.table(dict(columns)), file)


def read_file(file: Path, where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Column]:
    """The columns of one file: all of `names`, and those of `optional` that it has. Each must occur once."""
    with _reading(where), pa.OSFile(os.fsencode(file)) as source:
        parquet = pq.ParquetFile(source)
        present = parquet.schema_arrow.names
        lacking_columns(names, present, where)
        names += tuple(name for name in optional if name in present)
        twice = [name for name in names if present.count(name) > 1]
        if twice:
            raise HistoryError(f"A column occurs twice: {', '.join(twice)}.", where=where, got=", ".join(present))
        table = parquet.read(list(names))
    columns = {}
    for name in names:
        with _reading(f"{where}, column {name}"):
            columns[name] = _column(table[name])
    return columns


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Raise pyarrow's errors about damaged files as a HistoryError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError("A parquet file cannot be read.", where=where, got=str(error)) from error


def _column(column: pa.ChunkedArray) -> Column:
    kind, name = column.type, str(column.type)
    missing = column.is_null().to_numpy()
    if pa.types.is_null(kind):
        return Column("null", name, np.zeros(len(column), np.int64), missing)
    if pa.types.is_integer(kind):
        return Column("integer", name, column.cast(pa.int64()).fill_null(0).to_numpy(), missing)
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).to_numpy()
        return Column("real", name, values, np.isnan(values))
    if pa.types.is_boolean(kind):
        return Column("flag", name, column.fill_null(False).to_numpy().astype(bool), missing)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column("text", name, np.array([*column.to_pylist(), None], object)[:-1], missing)
    return Column("other", name, np.zeros(len(column), np.int64), missing)
