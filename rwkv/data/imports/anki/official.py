"""The same settings through Anki's own package, which reads every schema that the installed Anki knows."""

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
    """Whether the package `anki` (extra [anki]) is installed and works here."""
    try:
        import anki.collection  # noqa: F401
    except ImportError:
        return False
    return True


def read_by_anki(database: Path, scratch: Path, where: str) -> tuple[Path, Settings]:
    """(a copy of the collection in the newest schema, its settings). Anki only ever opens the copy, in `scratch`.

    Raises InputError where Anki refuses it.
    """
    from anki.collection import Collection

    copy = scratch / "anki" / "collection.anki2"
    copy.parent.mkdir()
    shutil.copyfile(database, copy)
    try:
        with redirect_stdout(io.StringIO()):  # where it tells programmers of settings that are of no use to them
            collection = Collection(str(copy))
            try:
                return copy, _settings(collection, where)
            finally:
                collection.close()
    except InputError:
        raise
    except Exception as error:  # the package raises Exception itself, for a scheduler that it does not know
        hint = "let Anki check it with Tools > Check Database; where it is of a newer Anki: pip install -U anki"
        raise InputError("Anki cannot open the collection.", where=where, got=str(error), hint=hint) from error


def _settings(collection: "Collection", where: str) -> Settings:
    # First the config: once it is asked for today, Anki records this computer's time zone there.
    config = collection.all_config()
    return settings_of(
        created_s=collection.crt,
        config=config,
        decks={str(deck["id"]): deck for deck in collection.decks.all()},
        presets={str(preset["id"]): preset for preset in collection.decks.all_config()},
        where=where,
    )
