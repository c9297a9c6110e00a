"""Open Anki's exports, collections and profile folders as a SQLite file. The source is only read.

Source: rslib/src/import_export/package/meta.rs of Anki, for the file of an archive that holds the collection.
"""

import errno
import lzma
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from rwkv.data.csv_text import TEXT_ENDINGS
from rwkv.data.imports.anki.protobuf import fields
from rwkv.errors import InputError
from rwkv.files import unchanged
from rwkv.plurals import counted

# More than any real collection: a million cards with thirty million reviews take about 3 GiB.
MOST_BYTES = 16 << 30

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 1 << 20
_UNPACKED = "unpacked.anki2"
_NAME = "collection.anki2"

# By version in the archive's "meta": the file with the collection, and whether it is compressed with zstd.
_MEMBERS = {1: (_NAME, False), 2: ("collection.anki21", False), 3: ("collection.anki21b", True)}
_NEW_NAMES = ("collection.anki21b", "collection.anki21")
_META_BYTES = 1024

_AGAIN = "export or download it again"

# The errors of zipfile and the decompressors, with Python's own for numbers and names out of range.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    ArithmeticError,
)

# Endings of collections. Downloads and backups add text after .apkg and .colpkg.
_ENDING = re.compile(r"\.(?:(colpkg|apkg)\b.*|anki2|anki21b?|db|sqlite3?|zip|bak)$", re.IGNORECASE)
# Stamps that programs append: 2025-10-30-16.47.11, @16-47-11, 20251030, backup-12, (1).
_DATE = r"(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_TIME = r"[-_ @T]*\d\d[-.:_]?\d\d(?:[-.:_]?\d\d)?"
_STAMP = re.compile(rf"(?:[-_ @]*{_DATE}(?:{_TIME})?|(?<=backup)-\d+| ?\(\d+\))$", re.IGNORECASE)
_NO_NAMES = {"", "collection", "backup", "anki", "ankidroid", "export"}
# Folders for the collections of a parent folder, or of all users.
_NO_FOLDERS = {"", "backup", "backups", "downloads", "desktop", "documents", "tmp"}


@dataclass(frozen=True)
class OpenedSource:
    """An opened source.

    Attributes:
        source: The file, with its hash.
        database: The SQLite file.
        scratch: A temporary folder.
        kind: "colpkg", "apkg", "anki2" or "csv"; "" for an archive whose name does not tell.
        name: The person's name.
        is_new_form: Whether the collection has a form used by the new scheduler: collection.anki21 or .anki21b in an
            archive, or settings in separate tables.
    """

    source: Path
    sha256: str
    kind: str
    name: str
    is_new_form: bool
    database: Path
    scratch: Path


@contextmanager
def opened(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[OpenedSource]:
    """Open a .colpkg, .apkg, collection.anki2 or profile folder. Unpacked files are deleted at the end of the block.

    Raises:
        InputError: The source has another format, is damaged, encrypted, from a newer version, in use, or larger than
            `most_bytes`.
    """
    source = in_folder(path) if path.is_dir() else path
    with unchanged(source) as sha256, tempfile.TemporaryDirectory(prefix="rwkv-import-") as folder:
        scratch = Path(folder)
        with source.open("rb") as file:
            start = file.read(_HEADER_BYTES)
        name = collection_name(source)
        # Names of collections that were unpacked from an archive.
        is_new_form = source.name in _NEW_NAMES
        kind = "" if is_new_form else "anki2"
        if start.startswith(_MAGIC):
            check_closed(source)
            _check_size(source.stat().st_size, start, str(source))
            yield OpenedSource(source, sha256, kind, name, is_new_form, source, scratch)
        elif start.startswith(_ZSTD_MAGIC):
            database = scratch / _UNPACKED
            with _damage_of_archives(str(source)), source.open("rb") as packed:
                _copy(zstandard.ZstdDecompressor().stream_reader(packed), database, str(source), most_bytes)
            yield OpenedSource(source, sha256, kind, name, is_new_form, database, scratch)
        elif start.startswith(b"PK"):
            database = scratch / _UNPACKED
            member = _unpack(source, database, most_bytes)
            yield OpenedSource(source, sha256, kind_by_name(source), name, member in _NEW_NAMES, database, scratch)
        else:
            raise InputError(
                "This is not an Anki collection.",
                where=str(source),
                got="an empty file" if not start else f"a file that begins with {start[:8]!r}",
                expected=".colpkg, .apkg, collection.anki2, a profile folder, or a .csv file",
                hint="export from Anki with File > Export, `Anki collection package`",
            )


def in_folder(folder: Path) -> Path:
    """The collection of a profile folder or an unpacked archive, in its newest form."""
    for name in (*_NEW_NAMES, _NAME):
        if (folder / name).is_file():
            return folder / name
    profiles = sorted(str(file.parent) for file in folder.glob(f"*/{_NAME}"))
    raise InputError(
        "The folder is not an Anki profile.",
        where=str(folder),
        got=f"a folder of {len(profiles)} profile{'s' * (len(profiles) > 1)}" if profiles else f"no {_NAME}",
        hint=f"choose one of: {', '.join(profiles)}" if profiles else "",
    )


def check_closed(path: Path) -> None:
    """Raise InputError for a collection that is in use. Its latest reviews are in other files."""
    for suffix in ("-wal", "-journal"):
        if path.with_name(path.name + suffix).exists():
            raise InputError(
                "The collection is in use, or was not closed properly.",
                where=str(path),
                got=f"a file {path.name}{suffix} beside it",
                hint="close Anki (if it is not running, open and close it once) and rerun, or import an export",
            )


def _check_size(size: int, start: bytes, where: str) -> None:
    stated = _stated_bytes(start)
    if len(start) < _HEADER_BYTES or (stated is not None and size < stated):
        expected = f"{stated} bytes" if stated is not None else ""
        what, got = "The collection is truncated.", counted(size, "byte")
        raise InputError(what, where=where, got=got, expected=expected, hint=_AGAIN)


def _stated_bytes(start: bytes) -> int | None:
    """The size in a database's header, or None. Source: SQLite's file format."""
    if start[24:28] != start[92:96]:
        return None
    page_bytes = int.from_bytes(start[16:18], "big")
    pages = int.from_bytes(start[28:32], "big")
    return (65536 if page_bytes == 1 else page_bytes) * pages


def _unpack(source: Path, database: Path, most_bytes: int) -> str:
    """Write the collection of an archive to `database`. No other file and no name of the archive is used.

    Returns:
        The collection's name in the archive.
    """
    where = str(source)
    with _damage_of_archives(where), zipfile.ZipFile(source) as archive:
        member, compressed = _member(archive, where)
        with archive.open(member) as packed:
            stream = zstandard.ZstdDecompressor().stream_reader(packed) if compressed else packed
            _copy(stream, database, f"{where}, {member.filename}", most_bytes)
        return member.filename


@contextmanager
def _damage_of_archives(where: str) -> Iterator[None]:
    """Raise the errors of all decompressors about damaged archives as an InputError."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # bzip2 raises an OSError without a number; a position before the file's start is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InputError("The archive is damaged or truncated.", where=where, got=str(error), hint=_AGAIN) from error


def _member(archive: zipfile.ZipFile, where: str) -> tuple[zipfile.ZipInfo, bool]:
    """The file with the collection, and whether it is compressed with zstd."""
    members = {member.filename: member for member in archive.infolist()}
    names = {name for name, _ in _MEMBERS.values()}
    if not names & members.keys():
        raise InputError(
            "The archive has no Anki collection.",
            where=where,
            got=", ".join(sorted(members)[:5]) or "nothing",
            expected=" or ".join(sorted(names)),
            hint="unpack it, and import the folder or one of its files" if any(map(_is_text, members)) else "",
        )
    if any(member.flag_bits & 1 for name, member in members.items() if name in names | {"meta"}):
        raise InputError("The archive is encrypted.", where=where, hint="use an unencrypted export of Anki")
    version = 2 if _MEMBERS[2][0] in members else 1
    if "meta" in members:
        with archive.open(members["meta"]) as file:
            version = _meta_version(file.read(_META_BYTES), where)
    name, compressed = _MEMBERS[version]
    if name not in members:
        raise InputError("The collection is missing from the archive.", where=where, expected=name, hint=_AGAIN)
    return members[name], compressed


def _is_text(name: str) -> bool:
    return name.lower().endswith(TEXT_ENDINGS)


def _meta_version(meta: bytes, where: str) -> int:
    version = fields(meta, where).get(1, [0])[-1]
    if not isinstance(version, int) or version not in _MEMBERS:
        raise InputError(
            "The archive was written by a newer version of Anki.",
            where=where,
            got=f"package version {version!r}",
            expected=f"at most {max(_MEMBERS)}",
            hint="export again with `Support older Anki versions`",
        )
    return version


def _copy(stream: IO[bytes], database: Path, where: str, most_bytes: int) -> None:
    """Copy a SQLite file, up to the size in its header and at most `most_bytes`."""
    start = stream.read(_CHUNK_BYTES)
    if len(start) < _HEADER_BYTES:
        got = counted(len(start), "byte")
        raise InputError("The archive's collection is truncated.", where=where, got=got, hint=_AGAIN)
    if not start.startswith(_MAGIC):
        got = repr(start[:16])
        raise InputError("The archive's collection is not a SQLite database.", where=where, got=got, hint=_AGAIN)
    stated = _stated_bytes(start)
    free = shutil.disk_usage(database.parent).free
    limit = min(most_bytes, free, most_bytes if stated is None else stated)
    if stated is not None and stated > limit:
        _refuse_size(where, stated, limit)
    size, chunk = 0, start
    with database.open("wb") as file:
        while chunk:
            size += len(chunk)
            if size > limit:
                _refuse_size(where, size, limit)
            file.write(chunk)
            chunk = stream.read(_CHUNK_BYTES)
    _check_size(size, start[:_HEADER_BYTES], where)


def _refuse_size(where: str, size: int, limit: int) -> None:
    raise InputError(
        "The archive's collection is too large.",
        where=where,
        got=f"{size} bytes or more",
        expected=f"at most {limit} bytes, by its header, the limit and the free space for temporary files",
        hint="free space, or set TMPDIR to a folder with more; if there is enough, export or download it again",
    )


def collection_name(source: Path) -> str:
    """The file's name without its ending and date, or its folder's name if nothing distinctive remains."""
    stem = _ENDING.sub("", source.name)
    name = stem
    while (shorter := _STAMP.sub("", name)) != name:
        name = shorter
    name = name.strip("-_ @.")
    if name.lower() not in _NO_NAMES:
        return name
    folders = [folder.name for folder in source.resolve().parents if folder.name.lower() not in _NO_FOLDERS]
    return folders[0] if folders else stem


def kind_by_name(source: Path) -> str:
    """The kind by an archive's name: "colpkg", "apkg", or "" if unknown."""
    ending = _ENDING.search(source.name)
    return (ending[1] or "").lower() if ending else ""
