"""The rows of a CSV table, and quotes that are missing or left over in them."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from rwkv.data.csv_text import SHOWN_CHARACTERS, CsvText
from rwkv.errors import InputError
from rwkv.plurals import counted

_BLANKS = " \t"
# Times and ids of Anki are epoch milliseconds: 12 digits since 1973, 13 since 2001.
_TIME_OR_ID = re.compile(r"[0-9]{12,}")


def csv_rows(table: CsvText, single_line: set[int]) -> Iterator[list[str]]:
    """The cells of each row that is not empty.

    Args:
        table: The table.
        single_line: The columns whose cells have no line breaks.

    Raises:
        InputError: A row has more or fewer cells than the header, or a quote is missing or left over. The error names
            the line.
    """
    width, last, lines, has_rows = len(table.names), 0, 0, False
    written: list[str] = []  # the lines of the row
    with _long_cells(table):
        reader = csv.reader(_recorded(_lines(table), written), delimiter=table.separator)
        try:
            for row in reader:
                has_rows |= bool(row)
                # A cell has a line break or a separator: its quotes matter.
                if len(written) > 1 or written[0].count(table.separator) >= len(row):
                    _check_quotes(table, row, written, lines, single_line)
                written.clear()
                if row and len(row) != width:
                    _refuse_open_quote(table, lines)
                    raise InputError(
                        "A row has more or fewer cells than the header.",
                        where=f"{table.where}, line {table.line + lines}",
                        got=f"{len(row)}: {table.separator.join(row)[:SHOWN_CHARACTERS]}",
                        expected=f"{counted(width, 'cell')}, separated by {table.separator!r}",
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


def line_of_cell(table: CsvText, row: int, column: int) -> int:
    """The line of the file, from 1, on which a cell begins: of a row that is not empty, and a column, both from 0."""
    with _long_cells(table):
        reader, lines = csv.reader(_lines(table), delimiter=table.separator), 0
        for cells in reader:
            if cells and row == 0:
                return _line_of_last(table, cells[: column + 1], lines)
            row, lines = row - bool(cells), reader.line_num
    raise IndexError("The table has fewer rows.")


@contextmanager
def _long_cells(table: CsvText) -> Iterator[None]:
    """Let Python's reader take cells of any length."""
    before = csv.field_size_limit(len(table.rows) + 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lines(table: CsvText) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(table.rows), "utf-8", newline="")


def _recorded(lines: Iterable[str], written: list[str]) -> Iterator[str]:
    for line in lines:
        written.append(line)
        yield line


def _check_quotes(table: CsvText, row: list[str], written: list[str], lines: int, single_line: set[int]) -> None:
    """Raise InputError if a cell has taken others or lines of others, or has several lines and must not.

    A quote that is missing makes the next opening quote a closing one, with text after it in this cell, or with an
    opening quote that is left over within a later one.
    """
    with_lines = {place for place, cell in enumerate(row) if "\n" in cell or "\r" in cell}
    doubtful = with_lines | {place for place, cell in enumerate(row) if table.separator in cell}
    if not doubtful:
        return
    text = "".join(written)
    if with_lines or doubtful & single_line:  # elsewhere a text that is not in quotes may have one, as in 5" disc
        doubtful |= {place for place, cell in enumerate(row) if '"' in cell}
    elif text.count('"') % 2:  # one may be missing; it would make the closing quote of a later text the end of a cell
        doubtful |= {place for place, cell in enumerate(row) if cell.rstrip(_BLANKS).endswith('"')}
    for place in sorted(doubtful):
        cell = row[place]
        if not _is_quoted(cell, text, table.separator):
            opening = max((before for before in with_lines if before <= place), default=place)
            raise _open_quote(table, row[: opening + 1], lines)
        if place in with_lines and place in single_line:
            raise InputError(
                f"A cell of the column {table.names[place]} has a line break.",
                where=f"{table.where}, line {_line_of_last(table, row[: place + 1], lines)}",
                got=repr(cell[:SHOWN_CHARACTERS]),
                expected="a number or an id on one line",
                hint="remove the line break, which ids and numbers cannot have; or close the quote that opens here",
            )
    if with_lines and len(row) == len(table.names):
        _refuse_swallowed_rows(table, row, written, lines, single_line)


def _refuse_swallowed_rows(
    table: CsvText, row: list[str], written: list[str], lines: int, single_line: set[int]
) -> None:
    """Raise InputError if several lines of one row look like rows: two quotes that are left over join them.

    Such lines have as many times and ids as the row itself, which has them only once unless they are in a text.
    """
    least = sum(_is_time_or_id(row[place]) for place in single_line)
    alike = [line for line in written if _is_like_a_row(line.strip("\r\n").split(table.separator), len(row), least)]
    if least and len(alike) > 1:
        first, last = table.line + lines, table.line + lines + len(written) - 1
        raise InputError(
            "A text in quotes takes whole rows into one cell.",
            where=f"{table.where}, lines {first} to {last}",
            got=repr("".join(written)[:SHOWN_CHARACTERS]),
            expected=f"one row; {len(alike)} of these lines have the cells of a row",
            hint="remove the quote that opens the text and the one that closes it",
        )


def _is_like_a_row(cells: list[str], width: int, least: int) -> bool:
    """Whether a line has at least the cells of a row, and as many times and ids; a comma in a text makes it longer."""
    return len(cells) >= width and sum(map(_is_time_or_id, cells)) >= least


def _is_time_or_id(cell: str) -> bool:
    return _TIME_OR_ID.fullmatch(cell.strip(f'{_BLANKS}"')) is not None


def _is_quoted(cell: str, written: str, separator: str) -> bool:
    """Whether a cell is written as one text in quotes; blanks after it are allowed."""
    start_of_cell = '"' + cell.rstrip(_BLANKS).replace('"', '""')
    if f'{start_of_cell}"{separator}' in written:  # as mostly, and quickly
        return True
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
        where=f"{table.where}, line {_line_of_last(table, cells, lines)}",
        got=repr(cells[-1][:SHOWN_CHARACTERS]),
        hint='close the quote, or write a quote within a text as ""; if the file was cut off, export it again',
    )


def _line_of_last(table: CsvText, cells: list[str], lines: int) -> int:
    """The line of the file on which the last of some cells begins, where the first one begins after so many lines."""
    return table.line + lines + sum(cell.count("\n") or cell.count("\r") for cell in cells[:-1])
