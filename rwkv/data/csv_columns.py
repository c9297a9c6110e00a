"""The columns of a CSV table as texts, and their numbers."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator
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
_BLANKS = " \t"


def read_csv_columns(table: CsvText, requested: Collection[str], texts: Collection[str] = ()) -> dict[str, TextColumn]:
    """The requested columns of a CSV table that exist, as stripped texts.

    Args:
        table: The table.
        requested: The names of the columns.
        texts: Those of them that may have line breaks.

    Raises:
        InputError: The table cannot be read, a column occurs twice, or another one has a line break. The error names
            the row or line.
    """
    twice = [name for name in requested if table.names.count(name) > 1]
    if twice:
        raise InputError(f"A column occurs twice: {', '.join(twice)}.", where=table.where, got=", ".join(table.names))
    present = [name for name in requested if name in table.names]
    places = [table.names.index(name) for name in present]
    parts: list[list[TextColumn]] = [[_texts([])] for _ in present]
    rows = _rows(table, {table.names.index(name) for name in present if name not in texts})
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


def _rows(table: CsvText, single_line: set[int]) -> Iterator[list[str]]:
    """The cells of each row that is not empty. single_line: the columns whose cells have no line breaks."""
    width, last, lines, has_rows = len(table.names), 0, 0, False
    written: list[str] = []  # the lines of the row
    reader = csv.reader(_recorded(_lines(table), written), delimiter=table.separator)
    before = csv.field_size_limit(len(table.rows) + 1)
    try:
        for row in reader:
            has_rows |= bool(row)
            if len(written) > 1:
                _refuse_swallowed_lines(table, row, "".join(written), lines, single_line)
            written.clear()
            if row and len(row) != width:
                _refuse_open_quote(table, lines)
                raise InputError(
                    "A row has more or fewer cells than the header.",
                    where=f"{table.where}, line {table.line + lines}",
                    got=f"{len(row)}: {table.separator.join(row)[:_SHOWN_CHARACTERS]}",
                    expected=f"{width} cells, separated by {table.separator!r}",
                    hint='correct the line; put a text that has the separator, a quote or a line break in "quotes"',
                )
            if row:
                last = lines
                yield row
            lines = reader.line_num
        if has_rows:
            _refuse_open_quote(table, last)
    except csv.Error as error:
        where, hint = f"{table.where}, line {table.line + lines}", "correct the line, or export the file again"
        raise InputError("The CSV file cannot be read.", where=where, got=str(error), hint=hint) from error
    finally:
        csv.field_size_limit(before)


def _lines(table: CsvText) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(table.rows), "utf-8", newline="")


def _recorded(lines: Iterable[str], written: list[str]) -> Iterator[str]:
    for line in lines:
        written.append(line)
        yield line


def _refuse_swallowed_lines(table: CsvText, row: list[str], written: str, lines: int, single_line: set[int]) -> None:
    """Raise InputError if a cell of a row of several lines has taken lines of others, or cannot have several.

    A quote that is missing in the middle of a file makes the next opening quote a closing one, with text after it in
    this cell, or with an opening quote that is left over within a later one.
    """
    with_lines = [place for place, cell in enumerate(row) if "\n" in cell or "\r" in cell]
    for place, cell in enumerate(row):
        if place not in with_lines and '"' not in cell:
            continue
        if not _is_quoted(cell, written, table.separator):
            opening = max((before for before in with_lines if before <= place), default=place)
            raise _open_quote(table, row[: opening + 1], lines)
        if place in with_lines and place in single_line:
            raise InputError(
                f"A cell of the column {table.names[place]} has a line break.",
                where=f"{table.where}, line {_line_of_cell(table, row[: place + 1], lines)}",
                got=repr(cell[:_SHOWN_CHARACTERS]),
                expected="a number or an id on one line",
                hint="remove the line break, which ids and numbers cannot have; or close the quote that opens here",
            )


def _is_quoted(cell: str, written: str, separator: str) -> bool:
    """Whether a cell is written as one text in quotes; blanks after it are allowed."""
    start_of_cell = '"' + cell.rstrip(_BLANKS).replace('"', '""')
    rest_of_cell = re.compile(rf'[{_BLANKS}]*"[{_BLANKS}]*(?:{re.escape(separator)}|[\r\n]|\Z)')
    place = written.find(start_of_cell)
    while place >= 0:
        if rest_of_cell.match(written, place + len(start_of_cell)):
            return True
        place = written.find(start_of_cell, place + 1)  # the first one may lie in another cell's text
    return False


def _refuse_open_quote(table: CsvText, lines: int) -> None:
    """Raise InputError if the row after so many lines has a quote that is not closed before the end of the file."""
    if b'"' not in table.rows:
        return
    rest = list(islice(_lines(table), lines, None))
    if len(list(islice(csv.reader([*rest, "one more row"], delimiter=table.separator), 2))) == 2:
        return
    raise _open_quote(table, next(csv.reader(rest, delimiter=table.separator)), lines)


def _open_quote(table: CsvText, cells: list[str], lines: int) -> InputError:
    """The error for a quote that opens in the last of some cells, which begin after so many lines."""
    return InputError(
        "A quote is not closed, and takes what follows into one cell.",
        where=f"{table.where}, line {_line_of_cell(table, cells, lines)}",
        got=repr(cells[-1][:_SHOWN_CHARACTERS]),
        hint='close the quote, or write a quote within a text as ""; if the file was cut off, export it again',
    )


def _line_of_cell(table: CsvText, cells: list[str], lines: int) -> int:
    """The line of the file on which the last of some cells begins, where the first one begins after so many lines."""
    return table.line + lines + sum(cell.count("\n") or cell.count("\r") for cell in cells[:-1])


def _texts(values: list[str]) -> TextColumn:
    return np.array(values, np.dtypes.StringDType())


def _are_digits(column: TextColumn) -> Bools:
    """Whether each text has only the digits 0 to 9; in doubt not, which is slow but right."""
    text = "".join(column.tolist())
    if not text.isascii() or "\0" in text:  # other scripts have digits, too, and NumPy ignores NULs at the end
        return np.zeros(len(column), bool)
    return np.asarray(np.strings.isdecimal(column), bool)
