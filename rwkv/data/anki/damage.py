"""The door for parts of a collection that are damaged or of another form than Anki's."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from rwkv.errors import InputError

_HINT = "let Anki check it with Tools > Check Database, or export it again"
_MOST_CHARACTERS = 200


@contextmanager
def part(where: str, name: str) -> Iterator[None]:
    """Inside, whatever damage makes of reading the named part is raised as an InputError with the file and the part."""
    place = f"{where}, {name}"
    try:
        yield
    except sqlite3.Error as error:
        raise InputError("The collection cannot be read.", where=place, got=str(error), hint=_HINT) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        got = f"{type(error).__name__}: {error}"[:_MOST_CHARACTERS]
        raise InputError("A part of the collection is damaged.", where=place, got=got, hint=_HINT) from error
