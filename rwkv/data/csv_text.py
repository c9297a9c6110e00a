"""Decode CSV files of any encoding, separator and compression. The contents, not the name, decide the format."""

import bz2
import csv
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rwkv.errors import InputError
from rwkv.files import file_errors

# Enough for forty million reviews.
MOST_BYTES = 2 << 30

# The first bytes of packed files, and their unpackers.
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_ZIP = b"PK\x03\x04"
_UNPACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
# zipfile also raises Python's own errors, for numbers and names out of range and for passwords.
_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, ValueError, LookupError)

# Byte order marks, the longer ones first: UTF-32's begins with UTF-16's.
_MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
_SEPARATORS, _USUAL_SEPARATORS = ",;\t|", ",\t"
# A spreadsheet's first line that names the separator.
_STATED_SEPARATOR = "sep="
TEXT_ENDINGS = (".csv", ".tsv", ".txt")
_ENDINGS = {*TEXT_ENDINGS, ".gz", ".bz2", ".xz"}
# Databases and archives.
_OF_ANKI = (b"SQLite format 3\x00", _ZIP)
_LONGEST_HEADER = 100_000
# Characters of a file that an error shows.
SHOWN_CHARACTERS = 80
_HEAD_BYTES = 4096
# Control characters that text does not contain. \x1f is excluded, because Anki joins a note's fields with it.
_NO_TEXT = set(range(32)) - set(b"\t\n\r\f\x1a\x1f")


@dataclass(frozen=True)
class CsvText:
    """A decoded CSV table.

    Attributes:
        names: The columns' names in lower case, stripped.
        rows: The text after the header, in UTF-8.
        line: The line of the file on which `rows` begins, from 1.
        notices: Guesses about the format.
    """

    where: str
    names: tuple[str, ...]
    separator: str
    rows: bytes
    line: int
    notices: tuple[str, ...]


def name_without_endings(path: Path) -> str:
    """The file's name without endings such as .csv and .tsv.gz."""
    while path.suffix.lower() in {*_ENDINGS, ".zip"}:
        path = path.with_suffix("")
    return path.name


def is_text(path: Path) -> bool:
    """Whether a file, perhaps packed, is text.

    Files with other contents count as text by their name, so that damage is reported as such, except Anki's formats. An
    empty file is not text.
    """
    start = _read(path, _HEAD_BYTES)
    if start.startswith(_OF_ANKI):
        return False
    if _encoding_by_look(start) is not None or path.suffix.lower() in _ENDINGS:
        return True
    return bool(start) and not _NO_TEXT & set(start)


def read_csv_text(path: Path, column_names: Iterable[str]) -> CsvText:
    """Read a CSV file, packed or not, in UTF-8, UTF-16, UTF-32 or a single-byte encoding.

    Args:
        path: The file.
        column_names: Possible names of columns, by which the separator is recognised.

    Raises:
        InputError: The file is not text, or cannot be read.
    """
    where = str(path)
    data = _read(path, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        expected, hint = f"at most {MOST_BYTES:,} bytes of text", "export only the columns that are needed"
        raise InputError("The file is too large.", where=where, expected=expected, hint=hint)
    text, notices = _as_utf8(data, where)
    header, rows = _first_line(text)
    separator = ""
    if header.lower().startswith(_STATED_SEPARATOR):
        separator = header[len(_STATED_SEPARATOR) :][:1]
        header, rows = _first_line(rows)
    if not header:
        expected, hint = "a header with column names, and rows", "export the file again"
        raise InputError("The file is empty.", where=where, expected=expected, hint=hint)
    if len(header) > _LONGEST_HEADER:
        got, hint = f"a first line of {len(header):,} characters", "name the columns in the first line"
        raise InputError("The file has no header.", where=where, got=got, hint=hint)
    separator = separator or _separator(header, set(column_names))
    if separator not in _USUAL_SEPARATORS:
        notices += (f"the columns are separated by {separator!r}",)
    line = len(text[: len(text) - len(rows)].splitlines()) + 1
    if len(list(csv.reader([header, "a row"], delimiter=separator))) == 1:
        got, hint = header[:SHOWN_CHARACTERS], "close the quote; a column's name has no line break"
        raise InputError("A quote in the header is not closed.", where=f"{where}, header", got=got, hint=hint)
    return CsvText(where, _names(header, separator), separator, rows, line, notices)


def _read(path: Path, most: int) -> bytes:
    """The first bytes of a file, unpacked if it is packed."""
    longest = max(map(len, _PACKED))
    with file_errors(path), path.open("rb") as file:
        start = file.read(longest)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _PACKED.items() if start.startswith(magic)), None)
        packed = unpack(file) if unpack is not None else _text_in_zip(file) if start.startswith(_ZIP) else None
        try:
            data: bytes = (packed or file).read(most)
            return data
        except (*_UNPACKING_ERRORS, *_ZIP_ERRORS) as error:
            what, hint = "The packed file is damaged or truncated.", "download it again, or unpack it yourself"
            raise InputError(what, where=str(path), got=str(error), hint=hint) from error


def _text_in_zip(file: IO[bytes]) -> IO[bytes] | None:
    """The only file of an archive if its name is that of a text; None otherwise, and if the archive is damaged."""
    try:
        archive = zipfile.ZipFile(file)
        # macOS adds the folder __MACOSX.
        members = [file for file in archive.infolist() if not (file.is_dir() or file.filename.startswith("__MACOSX/"))]
        if len(members) == 1 and members[0].filename.lower().endswith(TEXT_ENDINGS):
            return archive.open(members[0])
    except (*_ZIP_ERRORS, OSError):
        pass
    file.seek(0)
    return None


def _as_utf8(data: bytes, where: str) -> tuple[bytes, tuple[str, ...]]:
    """The text in UTF-8, and guesses about its encoding."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS[mark] if mark else _encoding_by_look(data[:_HEAD_BYTES]) or "utf-8"
    data = data[len(mark) :]
    guess = () if mark or encoding == "utf-8" else (f"the encoding is unknown; assuming {encoding.upper()}",)
    try:
        text = data.decode(encoding)
        return data if encoding == "utf-8" else text.encode(), guess
    except UnicodeError as error:
        if mark or encoding != "utf-8" or _NO_TEXT & set(data):
            got = f"byte {getattr(error, 'start', 0) + 1} is not {encoding.upper()}"
            hint = "save the file as text in UTF-8"
            raise InputError("The file is not text.", where=where, got=got, hint=hint) from error
    encoding = "windows-1252"
    try:
        text = data.decode(encoding)
    except UnicodeError:
        encoding = "latin-1"
        text = data.decode(encoding)
    return text.encode(), (f"the text is not UTF-8; assuming {encoding}, so names may have wrong letters",)


def _encoding_by_look(start: bytes) -> str | None:
    """The encoding of text that begins with a byte order mark, or with zeros in every second byte; else None."""
    marked = next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
    if marked is not None or len(start) < 4:
        return marked
    zeros = tuple(byte == 0 for byte in start[:4])
    looks = {(False, True, False, True): "utf-16-le", (True, False, True, False): "utf-16-be"}
    return next((encoding for look, encoding in looks.items() if look == zeros), None)


def _first_line(text: bytes) -> tuple[str, bytes]:
    """The first non-empty line, and the text after it."""
    text = text.lstrip(b"\r\n")
    ends = [place for place in (text.find(b"\n"), text.find(b"\r")) if place >= 0]
    end = min(ends, default=len(text))
    return text[:end].decode().strip("\r\n "), text[end:].lstrip(b"\r\n")


def _separator(header: str, column_names: set[str]) -> str:
    """The separator that gives the most columns with a known name."""
    return max(_SEPARATORS, key=lambda separator: len(column_names & set(_names(header, separator))))


def _names(header: str, separator: str) -> tuple[str, ...]:
    (cells,) = csv.reader([header], delimiter=separator)
    return tuple(cell.strip().lower() for cell in cells)
