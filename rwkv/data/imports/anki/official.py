"""Read a collection's settings with Anki's own package, which supports all schemas up to its version."""

import io
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv.data.imports.anki.settings import Settings, settings_of
from rwkv.errors import InputError

if TYPE_CHECKING:
    from anki.collection import Collection


def has_anki() -> bool:
    """Whether the package `anki` (extra [anki]) is installed and works."""
    try:
        import anki.collection  # noqa: F401
    except ImportError:
        return False
    return True


def read_by_anki(database: Path, scratch: Path, where: str) -> tuple[Path, Settings]:
    """Copy a collection and read its settings. Anki opens only the copy in `scratch`.

    Returns:
        The copy, in the newest schema, and its settings.

    Raises:
        InputError: Anki cannot open the collection.
    """
    from anki.collection import Collection

    copy = scratch / "anki" / "collection.anki2"
    copy.parent.mkdir()
    shutil.copyfile(database, copy)
    try:
        with redirect_stdout(io.StringIO()):  # hides messages for Anki's developers
            collection = Collection(str(copy))
            try:
                return copy, _settings(collection, where)
            finally:
                collection.close()
    except InputError:
        raise
    except Exception as error:  # the package raises Exception for an unknown scheduler
        hint = "check it in Anki with Tools > Check Database; for a newer version of Anki, pip install -U anki"
        raise InputError("Anki cannot open the collection.", where=where, got=str(error), hint=hint) from error


def _settings(collection: "Collection", where: str) -> Settings:
    # Read the config first, because asking for the current day writes this computer's time zone into it.
    config = collection.all_config()
    return settings_of(
        created_s=collection.crt,
        config=config,
        decks={str(deck["id"]): deck for deck in collection.decks.all()},
        presets={str(preset["id"]): preset for preset in collection.decks.all_config()},
        where=where,
    )
