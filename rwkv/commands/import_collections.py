"""Collections of people -> users of a folder in the dataset's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rwkv.data.anki.archive import opened
from rwkv.data.anki.read import read_anki
from rwkv.data.collection import CollectionInfo, list_collections, read_info
from rwkv.data.days import local_time
from rwkv.data.imported import RULES, ImportChoices, ImportedUser, next_user, write_import
from rwkv.data.reviews_csv import read_csv
from rwkv.errors import InputError, RwkvError
from rwkv.runtime import log

# Kinds of sources that say whether FSRS is on; shared decks and CSV do not.
_SAYING_FSRS = ("colpkg", "anki2")


@dataclass(frozen=True)
class Imports:
    """What came of an import: the users in the order of the files, and the files that were left out, with reasons."""

    users: dict[int, CollectionInfo]
    failed: dict[Path, RwkvError]


def import_collections(files: Sequence[Path], out: Path, choices: ImportChoices | None = None) -> Imports:
    """Import each file as the next user below `out`. One of several files that cannot be imported is left out.

    Raises InputError where nothing could be imported.
    """
    choices = choices or ImportChoices()
    imports = Imports({}, {})
    for file in files:
        try:
            user, info = _import(file, out, choices)
            imports.users[user] = info
        except RwkvError as error:
            if len(files) == 1:
                raise
            log.error("%s is left out: %s", file, error)
            imports.failed[file] = error
    if not imports.users:
        raise InputError("None of the files could be imported.", got=", ".join(map(str, files)))
    return imports


def read_source(file: Path, choices: ImportChoices) -> ImportedUser:
    """Read one file or profile folder, whatever its kind."""
    if not file.exists():
        raise InputError("There is no such file.", where=str(file))
    if file.suffix.lower() == ".csv":
        return read_csv(file, choices)
    with opened(file) as source:
        return read_anki(source, choices)


def format_imports(imports: Imports, out: Path) -> str:
    """For each user what was imported, and what every rule met."""
    return "\n\n".join(_summary(user, info, out) for user, info in imports.users.items())


def _import(file: Path, out: Path, choices: ImportChoices) -> tuple[int, CollectionInfo]:
    log.info("reading %s", file)
    imported = read_source(file, choices)
    for notice in imported.notices:
        log.warning("%s: %s", file, notice)
    twins = [user for user in list_collections(out) if read_info(out, user).sha256 == imported.sha256]
    if twins:
        log.warning("%s is user %d already and becomes another one", file, twins[-1])
    user = next_user(out)
    return user, write_import(out, user, imported, choices.elapsed, datetime.now(UTC))


def _summary(user: int, info: CollectionInfo, out: Path) -> str:
    first = local_time(info.day_start_s, info.timezone).date()
    fsrs = f"; FSRS {'on' if info.has_fsrs else 'off'}" if info.kind in _SAYING_FSRS else ""
    head = [
        f"user {user} in {out}: {info.name} ({info.source})",
        f"  from {first}; days begin at {info.rollover_hour}:00 {info.timezone}; elapsed time {info.elapsed}; "
        f"ratings {info.grades}{fsrs}",
    ]
    width = max(len(f"{count:,}") for count in info.counts.values())
    rows = [f"  {info.counts[name]:>{width},}  {text}" for name, text in RULES.items() if info.counts.get(name)]
    return "\n".join(head + rows)
