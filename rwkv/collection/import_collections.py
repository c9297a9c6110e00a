"""Import collections as users of a folder in the dataset's layout."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rwkv.data.collection import CollectionInfo, day_of, read_info
from rwkv.data.csv_text import is_text, read_csv_text
from rwkv.data.days import local_time
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.dump import REVLOG_COLUMNS, dumps_in, is_dump, read_dumps
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.csv.reviews import CSV_COLUMNS, user_of_csv
from rwkv.data.imports.imported import (
    RULES,
    ImportChoices,
    ImportedUser,
    facts_of,
    next_user,
    remove_leftovers,
    rule_text,
    write_import,
)
from rwkv.data.imports.known_users import same_import, same_person, unfinished_import
from rwkv.data.revlogs import has_revlog
from rwkv.errors import InputError, RwkvError
from rwkv.files import check_input, unchanged
from rwkv.locks import only_writer_in
from rwkv.plurals import counted, form
from rwkv.runtime import log

# Kinds of sources that record whether FSRS is on; shared decks and CSV do not.
_SAYING_FSRS = ("colpkg", "anki2")

# What happened to a user.
ADDED, REPLACED, UNCHANGED = "added", "replaced", "unchanged"


@dataclass(frozen=True)
class Imports:
    """The result of an import.

    Attributes:
        users: The users, in the order of the files.
        outcomes: What happened to each user: ADDED, REPLACED or UNCHANGED.
        failed: Skipped files with their errors.
    """

    users: dict[int, CollectionInfo] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    failed: dict[Path, RwkvError] = field(default_factory=dict)


def import_collections(
    files: Sequence[Path], out: Path, choices: ImportChoices | None = None, replaces: bool = False
) -> Imports:
    """Import each file as a new user of a folder.

    A file that was imported before with the same choices is not imported again. Of several files, those with errors are
    skipped.

    Args:
        files: The collections.
        out: The folder of users, which may be new.
        choices: How to read the files.
        replaces: Whether a later state of a collection replaces its user.

    Raises:
        InputError: Nothing could be imported, or one name was chosen for several files.
        BusyError: Another command is writing to `out`.
    """
    from rwkv.data import arrow  # noqa: F401 - fail before the work where pyarrow is missing

    choices = choices or ImportChoices()
    if choices.name is not None and len(files) > 1:
        what, hint = "A name can be given to one file only.", "import the files one by one, each with its own `name`"
        raise InputError(what, where="`name`", got=f"{len(files)} files", hint=hint)
    with only_writer_in(out, "another folder"):
        remove_leftovers(out)
        return _import_all(files, out, choices, replaces)


def _import_all(files: Sequence[Path], out: Path, choices: ImportChoices, replaces: bool) -> Imports:
    imports = Imports()
    for file in files:
        try:
            user, info, outcome = _import(file, out, choices, replaces)
            imports.users[user] = info
            # Of several files of one user, the first that changed the folder counts.
            if imports.outcomes.get(user, UNCHANGED) == UNCHANGED:
                imports.outcomes[user] = outcome
        except RwkvError as error:
            if len(files) == 1:
                raise
            log.error("%s is skipped: %s", file, error)
            imports.failed[file] = error
    if not imports.users:
        where, hint = ", ".join(map(str, files)), "see the messages above"
        raise InputError("None of the files could be imported.", where=where, hint=hint)
    return imports


def read_with_facts(file: Path, choices: ImportChoices) -> tuple[ImportedUser, CollectionInfo]:
    """Read a collection with the facts to record about it. Its notices are logged."""
    log.info("reading %s", file)
    imported = read_source(file, choices)
    if choices.name is not None:
        imported = replace(imported, name=choices.name.strip())
    for notice in imported.notices:
        log.warning("%s: %s", file, notice)
    now = datetime.now(UTC)
    if ahead := imported.counts.get("in_the_future"):
        shown = f"{local_time(now.timestamp(), imported.clock.timezone):%Y-%m-%d %H:%M}"
        what = counted(ahead, "entry")
        log.warning("%s: %s left out, dated after now, %s by this computer's clock", file, what, shown)
    return imported, facts_of(imported, choices.elapsed, now)


def read_source(file: Path, choices: ImportChoices) -> ImportedUser:
    """Read a collection from a file or folder. Its contents, not its name, decide the format."""
    if not file.exists():
        raise InputError("The file does not exist.", where=str(file), hint="check the path")
    check_input(file)
    dumps = dumps_in(file)
    if dumps:
        return read_dumps(dumps, file, choices)
    if file.is_file() and is_text(file):
        return _read_text(file, choices)
    if any(file.glob("revlogs/user_id=*")):
        what, hint = "The folder is a dataset already and needs no import.", f"use it as it is: rwkv predict {file}"
        raise InputError(what, where=str(file), got="folders revlogs/user_id=N", hint=hint)
    with opened(file) as source:
        return read_anki(source, choices)


def _read_text(file: Path, choices: ImportChoices) -> ImportedUser:
    with unchanged(file) as sha256:
        csv = read_csv_text(file, (*CSV_COLUMNS, *REVLOG_COLUMNS))
        if is_dump(csv):
            return read_dumps({"revlog": file}, file, choices)
        return user_of_csv(csv, file, sha256, choices)


def format_imports(imports: Imports, out: Path) -> str:
    """For each user the facts and the number of reviews affected by each rule; then the skipped files."""
    failed = [f"{file} is skipped: {error}" for file, error in imports.failed.items()]
    users = (
        format_facts(f"user {user} in {out}, {imports.outcomes[user]}", info) for user, info in imports.users.items()
    )
    return "\n\n".join([*users, *failed])


def _import(file: Path, out: Path, choices: ImportChoices, replaces: bool) -> tuple[int, CollectionInfo, str]:
    """Import a file. Returns the user, the facts, and what happened to the user."""
    imported, info = read_with_facts(file, choices)
    same = same_import(out, info, by_name=choices.name is not None)
    if same is not None:
        log.warning("%s has been imported as user %d before; nothing to do", file, same)
        return same, read_info(out, same), UNCHANGED
    user = unfinished_import(out, info) or _place(file, out, imported, replaces)
    outcome = REPLACED if has_revlog(out, user) else ADDED
    write_import(out, user, imported, info)
    return user, info, outcome


def _place(file: Path, out: Path, imported: ImportedUser, replaces: bool) -> int:
    """The user number for a source."""
    match = same_person(out, imported.reviews)
    if match is None:
        return next_user(out)
    user, shared, before = match
    what = f"{shared:,} of {counted(before, 'review')} of user {user} {form(shared, 'is', 'are')} in {file}"
    if replaces:
        log.warning("%s; it replaces that user", what)
        return user
    log.warning("%s; it becomes another user. Use `replace` to replace that user instead.", what)
    return next_user(out)


def format_facts(what: str, info: CollectionInfo) -> str:
    """A collection's facts and the number of reviews affected by each rule. what: the summary's first words."""
    first, last = _first_and_last_day(info)
    fsrs = f"; FSRS {'on' if info.has_fsrs else 'off'}" if info.kind in _SAYING_FSRS else ""
    head = [
        f"{what}: {info.name} ({info.source})",
        f"  from {first} to {last}; days begin at {info.rollover_hour}:00 {info.timezone}; "
        f"elapsed time {info.elapsed}; ratings {info.grades}{fsrs}",
    ]
    width = max(len(f"{count:,}") for count in info.counts.values())
    rows = [f"  {count:>{width},}  {rule_text(name, count)}" for name in RULES if (count := info.counts.get(name))]
    return "\n".join(head + rows)


def _first_and_last_day(info: CollectionInfo) -> tuple[date, date]:
    """The dates of the first and the last review, for days that begin at the rollover hour."""
    first = local_time(info.day_start_s, info.timezone).date()
    return first, first + timedelta(day_of(info, info.last_review_s))
