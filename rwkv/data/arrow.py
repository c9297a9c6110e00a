"""Tables in files: reading and writing parquet, and reading CSV. The only module that uses pyarrow."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.csv_text import CsvText
from rwkv.errors import HistoryError, InputError
from rwkv.files import replacing

# Values by column name; masked ones are missing.
Columns = Mapping[str, npt.NDArray[Any]]

TextColumn: TypeAlias = pa.ChunkedArray

# Texts for a missing number.
_MISSING = pa.array(["", "NA", "N/A", "<NA>", "NULL", "null", "NaN", "nan", "None", "\\N"])
# Cells may contain line ends, so a row must fit into a block.
_CSV_BLOCK_BYTES = 64 << 20
_SHOWN_CHARACTERS = 80


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


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Raise pyarrow's errors about damaged files as a HistoryError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError("A parquet file cannot be read.", where=where, got=str(error)) from error


def read_columns(root: Path, kind: str, user: int, names: tuple[str, ...]) -> dict[str, pa.ChunkedArray] | None:
    """The named columns of all files of a user, or None without files."""
    folder = root / kind / f"user_id={user}"
    files = sorted(folder.glob("*.parquet"))
    if not files:
        return None
    tables = [read_file(file, f"user {user}, {file}", names) for file in files]
    with reading(f"user {user}, {folder}"):
        merged = pa.concat_tables(tables, promote_options="permissive")
        return {name: merged[name] for name in names}


def read_file(file: Path, where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> pa.Table:
    """The columns of one file: all of `names`, and those of `optional` that it has. Each must occur once."""
    with reading(where), pa.OSFile(os.fsencode(file)) as source:
        parquet = pq.ParquetFile(source)
        present = parquet.schema_arrow.names
        lacking = [name for name in names if name not in present]
        if lacking:
            raise HistoryError(f"A column is missing: {', '.join(lacking)}.", where=where, got=", ".join(present))
        names += tuple(name for name in optional if name in present)
        twice = [name for name in names if present.count(name) > 1]
        if twice:
            raise HistoryError(f"A column occurs twice: {', '.join(twice)}.", where=where, got=", ".join(present))
        return parquet.read(list(names))


def integers(column: pa.ChunkedArray, name: str, where: str) -> Ints:
    """The int64 values of a column of any number type. Raises HistoryError for missing or fractional values."""
    values, missing = numbers(column, name, where)
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise HistoryError(f"Column {name} has {missing.sum()} missing values.", where=f"{where}, row {row}")
    return values


def numbers(column: pa.ChunkedArray, name: str, where: str) -> tuple[Ints, Bools]:
    """The int64 values of a column, 0 where missing, and a mask of the missing ones."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise HistoryError(f"Column {name} is not a number.", where=where, got=str(column.type), expected="integers")
    if not pa.types.is_floating(column.type):
        with reading(f"{where}, column {name}"):
            return column.cast(pa.int64()).fill_null(0).to_numpy(), column.is_null().to_numpy()
    floats = column.to_numpy().astype(np.float64)
    missing = np.isnan(floats)
    floats = np.where(missing, 0, floats)
    if not np.all(np.isfinite(floats) & (floats == np.rint(floats)) & (np.abs(floats) < 2**63)):
        raise HistoryError(f"Column {name} has values that are not integers.", where=where)
    return floats.astype(np.int64), missing


def reals(column: pa.ChunkedArray, name: str, where: str) -> Floats:
    """The float64 values of a column of any number type; NaN where missing."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise HistoryError(f"Column {name} is not a number.", where=where, got=str(column.type), expected="numbers")
    with reading(f"{where}, column {name}"):
        values = column.cast(pa.float64(), safe=False).to_numpy()
    if np.isinf(values).any():
        raise HistoryError(f"Column {name} has values that are not finite.", where=where)
    return values


def texts(column: pa.ChunkedArray, name: str, where: str) -> npt.NDArray[np.object_]:
    """The texts of a column. Raises HistoryError for missing values."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)):
        raise HistoryError(f"Column {name} is not text.", where=where, got=str(column.type), expected="texts")
    return np.array(_whole(column, name, where).to_pylist(), object)


def flags(column: pa.ChunkedArray, name: str, where: str) -> Bools:
    """The values of a boolean column. Raises HistoryError for missing values."""
    if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
        raise HistoryError(f"Column {name} is not true or false.", where=where, got=str(column.type), expected="bool")
    return _whole(column, name, where).to_numpy().astype(bool)


def _whole(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy())) + 1
        raise HistoryError(f"Column {name} has {column.null_count} missing values.", where=f"{where}, row {row}")
    return column


def read_csv_columns(csv: CsvText, requested: Collection[str]) -> dict[str, pa.ChunkedArray]:
    """The requested columns of a CSV table that exist, as stripped texts.

    Raises:
        InputError: The table cannot be read, or a column occurs twice. The error names the row.
    """
    twice = [name for name in requested if csv.names.count(name) > 1]
    if twice:
        raise InputError(f"A column occurs twice: {', '.join(twice)}.", where=csv.where, got=", ".join(csv.names))
    present = [name for name in requested if name in csv.names]
    if not csv.rows.strip():
        return {name: pa.chunked_array([], pa.string()) for name in present}
    # Placeholders, because other columns may have any names.
    place = {name: str(csv.names.index(name)) for name in present}
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(place.values(), pa.string()), include_columns=list(place.values())
    )
    reading_options = pacsv.ReadOptions(
        column_names=list(map(str, range(len(csv.names)))), use_threads=False, block_size=_CSV_BLOCK_BYTES
    )
    bad_rows: list[pacsv.InvalidRow] = []

    def keep(row: pacsv.InvalidRow) -> str:
        bad_rows.append(row)
        return "error"

    parsing = pacsv.ParseOptions(delimiter=csv.separator, newlines_in_values=True, invalid_row_handler=keep)
    try:
        table = pacsv.read_csv(pa.py_buffer(csv.rows), reading_options, parsing, options)
    except pa.ArrowException as error:
        if not bad_rows:
            raise InputError("The CSV file cannot be read.", where=csv.where, got=str(error)) from error
        row = bad_rows[0]
        raise InputError(
            "A row has more or fewer cells than the header.",
            where=f"{csv.where}, row {row.number} after the header",
            got=f"{row.actual_columns}: {row.text[:_SHOWN_CHARACTERS]}",
            expected=f"{row.expected_columns} cells, separated by {csv.separator!r}",
        ) from error
    return {name: pc.utf8_trim_whitespace(table[place[name]]) for name in present}


def distinct_texts(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """The index of each row's text [n] among the distinct texts, and these in order of first appearance."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def whole_numbers(
    column: pa.ChunkedArray, name: str, where: str, expected: str = "a whole number"
) -> tuple[Ints, Bools]:
    """The int64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a whole number of 64 bits. The error names row and column.
    """
    missing = pc.is_in(column, value_set=_MISSING)
    is_number = pc.or_(pc.match_substring_regex(column, r"^[+-]?[0-9]+(\.0*)?$"), missing).to_numpy()
    if not is_number.all():
        raise bad_cell(column, int(np.argmin(is_number)), name, where, expected)
    texts = pc.if_else(missing, "0", pc.replace_substring_regex(column, r"^\+|\.0*$", ""))
    try:
        return texts.cast(pa.int64()).to_numpy(), missing.to_numpy()
    except pa.ArrowInvalid as error:
        row = next(i for i, text in enumerate(texts.to_pylist()) if not -(2**63) <= int(text) < 2**63)
        raise bad_cell(column, row, name, where, "a number of 64 bits") from error


def decimal_numbers(column: pa.ChunkedArray, name: str, where: str) -> tuple[Floats, Bools]:
    """The finite float64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a finite number. The error names row and column.
    """
    missing = pc.is_in(column, value_set=_MISSING)
    pattern = r"^[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?$"
    is_number = pc.or_(pc.match_substring_regex(column, pattern), missing).to_numpy()
    if not is_number.all():
        raise bad_cell(column, int(np.argmin(is_number)), name, where, "a number")
    texts = pc.replace_substring(pc.if_else(missing, "0", column), ",", ".").to_pylist()
    values = np.array(list(map(float, texts)), np.float64)
    if not np.isfinite(values).all():
        raise bad_cell(column, int(np.argmin(np.isfinite(values))), name, where, "a number of 64 bits")
    return values, missing.to_numpy()


def bad_cell(column: pa.ChunkedArray, row: int, name: str, where: str, expected: str) -> InputError:
    """The error for an unexpected text in a row (0-based)."""
    text = column[row].as_py()
    what = f"A value of {name} is invalid." if text else f"A value of {name} is missing."
    shortened = re.fullmatch(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]+|#+", text)
    hint = "a spreadsheet has shortened it; export the file again, and do not save it from a spreadsheet"
    return InputError(
        what,
        where=f"{where}, row {row + 1} after the header, column {name}",
        got=repr(text[:_SHOWN_CHARACTERS]),
        expected=expected,
        hint=hint if shortened else "",
    )
