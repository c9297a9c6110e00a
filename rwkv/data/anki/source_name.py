"""The path of a collection -> what people know it by, and what its name says of its kind."""

import re
from pathlib import Path

# Endings of a collection's file. What follows .apkg and .colpkg in a file's name was added by downloads and backups.
_ENDING = re.compile(r"\.(?:(colpkg|apkg)\b.*|anki2|anki21b?|db|sqlite3?|zip|bak)$", re.IGNORECASE)
# What programs write after a name or in its place: 2025-10-30-16.47.11, @16-47-11, 20251030, backup-12, (1).
_DATE = r"(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_TIME = r"[-_ @T]*\d\d[-.:_]?\d\d(?:[-.:_]?\d\d)?"
_STAMP = re.compile(rf"(?:[-_ @]*{_DATE}(?:{_TIME})?|(?<=backup)-\d+| ?\(\d+\))$", re.IGNORECASE)
_NO_NAMES = {"", "collection", "backup", "anki", "ankidroid", "export"}
# Folders in which programs keep the collections of a folder above, or everybody's.
_NO_FOLDERS = {"", "backup", "backups", "downloads", "desktop", "documents", "tmp"}


def collection_name(source: Path) -> str:
    """The file's name without its ending and date; where nothing remains that tells one from others, its folder's."""
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
    """ "colpkg" or "apkg" where the name of an archive says so, otherwise ""."""
    ending = _ENDING.search(source.name)
    return (ending[1] or "").lower() if ending else ""
