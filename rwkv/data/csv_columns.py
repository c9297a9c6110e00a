"""The columns of a CSV table as texts, and their numbers."""

import csv
import io
import re
from collections.abc import Collection, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.csv_text import CsvText
from rwkv.errors import InputError

# Strings [rows] of NumPy's StringDType, which needs a fifth of the memory of str objects.
TextColumn: TypeAlias = npt.NDArray[Any]

# Texts for a missing number.
_MISSING = np.array(["", "NA", "N/A", "<NA>", "NULL", "null", "NaN", "nan", "None", "\\N"], np.dtypes.StringDType())
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_SHORTENED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]+|#+")
# Digits of a number that certainly has 64 bits.
_PLAIN_DIGITS = 18
_READ_TOGETHER = 50_000
_SHOWN_CHARACTERS = 80


def read_csv_columns(table: CsvText, requested: Collection[str]) -> dict[str, TextColumn]:
    """The requested columns of a CSV table that exist, as stripped texts.

    Raises:
        InputError: The table cannot be read, or a column occurs twice. The error names the row.
    """
    twice = [name for name in requested if table.names.count(name) > 1]
    if twice:
        raise InputError(f"A column occurs twice: {', '.join(twice)}.", where=table.where, got=", ".join(table.names))
    present = [name for name in requested if name in table.names]
    places = [table.names.index(name) for name in present]
    parts: list[list[TextColumn]] = [[_texts([])] for _ in present]
    rows = _rows(table)
    while together := list(islice(rows, _READ_TOGETHER)):
        for place, part in zip(places, parts, strict=True):
            # NumPy's own strip would drop NULs, too.
            part.append(_texts([text.strip() for text in map(itemgetter(place), together)]))
    return {name: np.concatenate(part) for name, part in zip(present, parts, strict=True)}


def distinct_texts(column: TextColumn) -> tuple[Ints, list[str]]:
    """The index of each row's text [n] among the distinct texts, and these in order of first appearance."""
    texts = column.tolist()
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return np.fromiter(map(number_of.__getitem__, texts), np.int64, len(texts)), list(number_of)


def whole_numbers(column: TextColumn, name: str, where: str, expected: str = "a whole number") -> tuple[Ints, Bools]:
    """The int64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a whole number of 64 bits. The error names row and column.
    """
    missing = np.isin(column, _MISSING)
    is_plain = _are_digits(column) & (np.strings.str_len(column) <= _PLAIN_DIGITS)
    values = np.zeros(len(column), np.int64)
    values[is_plain] = column[is_plain].astype(np.int64)
    for row in np.flatnonzero(~(is_plain | missing)).tolist():
        text = column[row]
        if not _WHOLE.fullmatch(text):
            raise bad_cell(column, row, name, where, expected)
        try:
            values[row] = int(text.partition(".")[0])
        except (OverflowError, ValueError) as error:  # Python converts only numbers of some thousand digits
            raise bad_cell(column, row, name, where, "a number of 64 bits") from error
    return values, missing


def decimal_numbers(column: TextColumn, name: str, where: str) -> tuple[Floats, Bools]:
    """The finite float64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a finite number. The error names row and column.
    """
    missing = np.isin(column, _MISSING)
    is_plain = _are_digits(column)
    values = np.zeros(len(column), np.float64)
    values[is_plain] = column[is_plain].astype(np.float64)
    for row in np.flatnonzero(~(is_plain | missing)).tolist():
        if not _DECIMAL.fullmatch(column[row]):
            raise bad_cell(column, row, name, where, "a number")
        values[row] = float(column[row].replace(",", "."))
    if not np.isfinite(values).all():
        raise bad_cell(column, int(np.argmin(np.isfinite(values))), name, where, "a number of 64 bits")
    return values, missing


def bad_cell(column: TextColumn, row: int, name: str, where: str, expected: str) -> InputError:
    """The error for an unexpected text in a row (0-based)."""
    text = str(column[row])
    what = f"A value of {name} is invalid." if text else f"A value of {name} is missing."
    hint = "a spreadsheet has shortened it; export the file again, and do not save it from a spreadsheet"
    return InputError(
        what,
        where=f"{where}, row {row + 1} after the header, column {name}",
        got=repr(text[:_SHOWN_CHARACTERS]),
        expected=expected,
        hint=hint if _SHORTENED.fullmatch(text) else "",
    )


def _rows(table: CsvText) -> Iterator[list[str]]:
    """The cells of each row that is not empty."""
    width, number, last, lines = len(table.names), 0, 0, 0
    reader = csv.reader(_lines(table), delimiter=table.separator)
    before = csv.field_size_limit(len(table.rows) + 1)
    try:
        for row in reader:
            number += bool(row)
            if row and len(row) != width:
                _refuse_open_quote(table, lines)
                raise InputError(
                    "A row has more or fewer cells than the header.",
                    where=f"{table.where}, row {number} after the header",
                    got=f"{len(row)}: {table.separator.join(row)[:_SHOWN_CHARACTERS]}",
                    expected=f"{width} cells, separated by {table.separator!r}",
                )
            if row:
                last = lines
                yield row
            lines = reader.line_num
        if number:
            _refuse_open_quote(table, last)
    except csv.Error as error:
        where = f"{table.where}, row {number + 1} after the header"
        raise InputError("The CSV file cannot be read.", where=where, got=str(error)) from error
    finally:
        csv.field_size_limit(before)


def _lines(table: CsvText) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(table.rows), "utf-8", newline="")


def _refuse_open_quote(table: CsvText, lines: int) -> None:
    """Raise InputError if the row after so many lines has a quote that is not closed, and so takes all that follows."""
    if b'"' not in table.rows:
        return
    rest = list(islice(_lines(table), lines, None))
    if len(list(islice(csv.reader([*rest, "one more row"], delimiter=table.separator), 2))) == 2:
        return
    cells = next(csv.reader(rest, delimiter=table.separator))
    line = table.line + lines + sum(cell.count("\n") or cell.count("\r") for cell in cells[:-1])
    raise InputError(
        "A quote is not closed, and takes all that follows into one cell.",
        where=f"{table.where}, line {line}",
        got=repr(cells[-1][:_SHOWN_CHARACTERS]),
        hint='close the quote, or write a quote within a text as ""; if the file was cut off, export it again',
    )


def _texts(values: list[str]) -> TextColumn:
    return np.array(values, np.dtypes.StringDType())


def _are_digits(column: TextColumn) -> Bools:
    """Whether each text has only the digits 0 to 9; in doubt not, which is slow but right."""
    text = "".join(column.tolist())
    if not text.isascii() or "\0" in text:  # other scripts have digits, too, and NumPy ignores NULs at the end
        return np.zeros(len(column), bool)
    return np.asarray(np.strings.isdecimal(column), bool)
