"""Collections as arguments of commands: each is imported once into the user's cache folder.

An entry of the cache is a folder in the dataset's layout with one user, named by the hash of the collection and of the
options. Its tables are packed, and its file source.txt names the collection.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from tempfile import TemporaryDirectory

from rwkv import __version__
from rwkv.collection.import_collections import format_facts, read_with_facts
from rwkv.data.collection import CollectionInfo, read_collection, read_info, review_times
from rwkv.data.imports.anki.archive import check_closed, in_folder
from rwkv.data.imports.anki.dump import dumps_in
from rwkv.data.imports.imported import ImportChoices, ImportedUser, TimedReviews, writable, write_import
from rwkv.data.imports.known_users import same_person
from rwkv.data.revlogs import read_history
from rwkv.data.tables import PACKED
from rwkv.errors import InputError, RwkvError
from rwkv.files import check_input, file_errors, replacing
from rwkv.plurals import counted
from rwkv.runtime import log
from rwkv.vocab import SECONDS_PER_DAY

USER = 1

_SOURCE = "source.txt"
_STAGING = ".reading-"
# The files that commands save beside a collection.
_STATES = "collection/user_id=1/*.rwkv"
# Entries that were not used for so long are removed.
_KEPT_DAYS = 60
_HINT = "set XDG_CACHE_HOME to a folder that can be written"


def open_collection(path: Path, choices: ImportChoices | None = None) -> Path:
    """The folder of a collection's reviews, which all functions and commands for folders read.

    A collection is read once into the cache, where it is user 1. An unreadable copy there is replaced.

    Args:
        path: What `rwkv import` reads: .colpkg, .apkg, collection.anki2, a profile folder or CSV. A folder in the
            dataset's layout is returned as it is.
        choices: How to read the collection.

    Raises:
        InputError: The collection cannot be read, the cache cannot be written, or there are choices for a dataset.
    """
    with file_errors(path):
        is_collection = _is_collection(path)
    if not is_collection:
        if path.exists() and choices is not None and choices != ImportChoices():
            what = f"These options are for collections, not for datasets: {_options_of(choices)}."
            raise InputError(what, where=str(path), hint="omit them, or name the collection's file")
        return path
    check_input(path)
    choices = choices or ImportChoices()
    entry = _entries() / _key(path, choices)
    info = _cached(entry)
    if info is None:
        info = _import(path, choices, entry)
        log.info("%s", format_facts("read", info))
    else:
        reviews = counted(info.counts["reviews"], "review")
        log.info("%s, as read at %s: %s, %s", path, info.imported_at, info.name, reviews)
    with _cache_errors(), replacing(entry / _SOURCE) as partial:
        partial.write_text(writable(str(path)), "utf-8")
    return entry


def _options_of(choices: ImportChoices) -> str:
    """The choices that are not the default, by name."""
    default = asdict(ImportChoices())
    stated = [name for name, value in asdict(choices).items() if value != default[name]]
    return ", ".join(f"`{name}`" for name in stated)


def source_of(folder: Path) -> str:
    """The path of the collection from which an entry of the cache was read, or the path of another folder."""
    source = folder / _SOURCE
    return source.read_text("utf-8") if source.is_file() and folder.parent == _entries() else str(folder)


def person_in(folder: Path, user: int) -> str:
    """A user of one of several folders, in words: the path of a collection, or of a folder with the number."""
    source = source_of(folder)
    return f"{source}: {user}" if source == str(folder) else source


def cache_folder() -> Path:
    """The user's folder for what can be computed again, by the convention of the platform.

    Raises:
        InputError: The user has no home folder.
    """
    if stated := os.environ.get("XDG_CACHE_HOME"):
        return Path(stated) / "rwkv"
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rwkv" / "cache"
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "rwkv"
    except RuntimeError as error:
        what = "The user has no home folder for the cache."
        raise InputError(what, where="HOME", got=str(error), hint=_HINT) from error


def _entries() -> Path:
    return cache_folder() / "collections"


@contextmanager
def _cache_errors() -> Iterator[None]:
    """Raise file system errors of the cache as an InputError."""
    try:
        yield
    except OSError as error:
        what = "The collection's reviews cannot be cached."
        raise InputError(what, where=str(_entries()), got=error.strerror or str(error), hint=_HINT) from error


def _is_collection(path: Path) -> bool:
    if not path.is_dir() or (path / "revlogs").is_dir():
        return path.exists() and not path.is_dir()
    return any(path.glob("collection.anki2*")) or any(path.glob("*/collection.anki2")) or bool(dumps_in(path))


def _key(path: Path, choices: ImportChoices) -> str:
    """The entry's name: a hash of the contents, of the names that tell kind and person, and of the options."""
    files = list(dumps_in(path).values()) or [in_folder(path) if path.is_dir() else path]
    key = hashlib.sha256()
    for file in files:
        check_closed(file)
        with file_errors(file), file.open("rb") as stream:
            key.update(hashlib.file_digest(stream, "sha256").digest())
    names = path.resolve().parts[-2:]
    key.update(repr((__version__, names, [file.name for file in files], astuple(choices))).encode())
    return key.hexdigest()[:32]


def _cached(entry: Path) -> CollectionInfo | None:
    """The facts of an entry; None if it is missing, damaged, or lacked reviews dated after its import."""
    with _cache_errors():
        if not entry.is_dir():
            return None
    try:
        info = read_collection(entry, USER).info
        read_history(entry, USER)
        review_times(entry, USER)
    except RwkvError as error:
        log.info("reading the collection again, because its copy in the cache is damaged: %s", error.what)
        return None
    return None if info.counts.get("in_the_future") else info


def _import(path: Path, choices: ImportChoices, entry: Path) -> CollectionInfo:
    """Read a collection into an entry, which appears at once. Returns the facts."""
    replaces = entry.is_dir()
    imported, info = read_with_facts(path, choices)
    if _key(path, choices) != entry.name:
        hint = "close the program that writes to it, and rerun"
        raise InputError("The collection changed while it was being read.", where=str(path), hint=hint)
    with _cache_errors():
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_unused(entry.parent)
        return _write(imported, info, entry, replaces)


def _write(imported: ImportedUser, info: CollectionInfo, entry: Path, replaces: bool) -> CollectionInfo:
    """Write an entry. A new one is left to the command that writes it first. Returns the facts."""
    with TemporaryDirectory(prefix=_STAGING, dir=entry.parent) as folder:
        staged = Path(folder) / "new"
        write_import(staged, USER, imported, info, PACKED)
        theirs = None if replaces else _cached(entry)
        if theirs is not None:  # another command may be reading this entry
            return theirs
        earlier = entry if entry.is_dir() else _earlier(info, imported.reviews, entry.parent)
        if earlier is not None:
            _move_states(earlier, staged)
        with suppress(FileNotFoundError):
            entry.rename(Path(folder) / "unusable")
        try:
            staged.rename(entry)
        except OSError:
            if not entry.is_dir():  # else another command has just written it
                raise
    return info


def _earlier(info: CollectionInfo, reviews: TimedReviews, entries: Path) -> Path | None:
    """The entry of the latest earlier state of a collection, read in the same way; None without one."""
    best: tuple[int, Path] | None = None
    for entry in entries.glob("[!.]*"):
        match = same_person(entry, reviews)
        if match is not None and (best is None or match[1] > best[0]) and _is_alike(read_info(entry, USER), info):
            best = match[1], entry
    return None if best is None else best[1]


def _is_alike(theirs: CollectionInfo, ours: CollectionInfo) -> bool:
    names = ("timezone", "rollover_hour", "elapsed", "grades")
    return all(getattr(theirs, name) == getattr(ours, name) for name in names)


def _move_states(earlier: Path, later: Path) -> None:
    """Move the network's states, from which the later history is continued where they fit."""
    for path in earlier.glob(_STATES):
        with suppress(FileNotFoundError):  # another command moved it
            path.replace(later / path.relative_to(earlier))


def _remove_unused(entries: Path) -> None:
    """Remove entries, and remains of killed commands, that were not used for _KEPT_DAYS."""
    for entry in entries.iterdir():
        marker = entry / _SOURCE
        with suppress(FileNotFoundError):  # the remains of another command, which has just ended
            used_s = (marker if marker.is_file() else entry).stat().st_mtime
            if time.time() - used_s > _KEPT_DAYS * SECONDS_PER_DAY:
                shutil.rmtree(entry, ignore_errors=True)
