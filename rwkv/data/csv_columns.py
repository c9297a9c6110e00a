"""The columns of a CSV table as texts, and their numbers."""

import re
from collections.abc import Collection
from itertools import islice
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.data.csv_rows import csv_rows, line_of_cell
from rwkv.data.csv_text import SHOWN_CHARACTERS, CsvText
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


def read_csv_columns(table: CsvText, requested: Collection[str], texts: Collection[str] = ()) -> dict[str, TextColumn]:
    """The requested columns of a CSV table that exist, as stripped texts.

    Args:
        table: The table.
        requested: The names of the columns.
        texts: Those of them that may have line breaks.

    Raises:
        InputError: The table cannot be read, a column occurs twice, or another one has a line break. The error names
            the line.
    """
    twice = [name for name in requested if table.names.count(name) > 1]
    if twice:
        what, hint = f"A column occurs twice: {', '.join(twice)}.", "remove or rename one of them"
        raise InputError(what, where=table.where, got=", ".join(table.names), hint=hint)
    present = [name for name in requested if name in table.names]
    places = [table.names.index(name) for name in present]
    parts: list[list[TextColumn]] = [[_texts([])] for _ in present]
    rows = csv_rows(table, {table.names.index(name) for name in present if name not in texts})
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


def whole_numbers(
    column: TextColumn, name: str, table: CsvText, expected: str = "a whole number"
) -> tuple[Ints, Bools]:
    """The int64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a whole number of 64 bits. The error names line and column.
    """
    missing = np.isin(column, _MISSING)
    is_plain = _are_digits(column) & (np.strings.str_len(column) <= _PLAIN_DIGITS)
    values = np.zeros(len(column), np.int64)
    values[is_plain] = column[is_plain].astype(np.int64)
    for row in np.flatnonzero(~(is_plain | missing)).tolist():
        text = column[row]
        if not _WHOLE.fullmatch(text):
            raise bad_cell(column, row, name, table, expected)
        try:
            values[row] = int(text.partition(".")[0])
        except (OverflowError, ValueError) as error:  # Python converts only numbers of some thousand digits
            raise bad_cell(column, row, name, table, "a number of 64 bits") from error
    return values, missing


def decimal_numbers(column: TextColumn, name: str, table: CsvText) -> tuple[Floats, Bools]:
    """The finite float64 values of a column of texts, 0 where missing, and a mask of the missing ones.

    Raises:
        InputError: A text is not a finite number. The error names line and column.
    """
    missing = np.isin(column, _MISSING)
    is_plain = _are_digits(column)
    values = np.zeros(len(column), np.float64)
    values[is_plain] = column[is_plain].astype(np.float64)
    for row in np.flatnonzero(~(is_plain | missing)).tolist():
        if not _DECIMAL.fullmatch(column[row]):
            raise bad_cell(column, row, name, table, "a number")
        values[row] = float(column[row].replace(",", "."))
    if not np.isfinite(values).all():
        raise bad_cell(column, int(np.argmin(np.isfinite(values))), name, table, "a number of 64 bits")
    return values, missing


def bad_cell(column: TextColumn, row: int, name: str, table: CsvText, expected: str) -> InputError:
    """The error for an unexpected text in a row (0-based)."""
    text = str(column[row])
    what = f"A value of {name} is invalid." if text else f"A value of {name} is missing."
    hint = "correct the cell, or export the file again"
    if _SHORTENED.fullmatch(text):
        hint = "a spreadsheet has shortened it; export the file again, and do not save it from a spreadsheet"
    elif '"' in text:
        hint = "remove the quote"
    where = place_of(table, row, name)
    return InputError(what, where=where, got=repr(text[:SHOWN_CHARACTERS]), expected=expected, hint=hint)


def place_of(table: CsvText, row: int, name: str) -> str:
    """The file, the line and the column of a row's cell (0-based), for an error."""
    line = line_of_cell(table, row, table.names.index(name.lower()))
    return f"{table.where}, line {line}, column {name}"


def _texts(values: list[str]) -> TextColumn:
    return np.array(values, np.dtypes.StringDType())


def _are_digits(column: TextColumn) -> Bools:
    """Whether each text has only the digits 0 to 9; in doubt not, which is slow but right."""
    text = "".join(column.tolist())
    if not text.isascii() or "\0" in text:  # other scripts have digits, too, and NumPy ignores NULs at the end
        return np.zeros(len(column), bool)
    return np.asarray(np.strings.isdecimal(column), bool)
