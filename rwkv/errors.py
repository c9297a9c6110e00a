"""The errors that a user can see. Each says what happened, where, and what to do next."""

import pickle
from collections.abc import Callable, Mapping
from traceback import format_exception
from typing import Self


class RwkvError(Exception):
    """Base of all errors that are shown as a message, never as a traceback.

    Attributes:
        what: What happened, in one sentence.
        details: The other parts that are not empty, by their label in the message:
            "where" (a file, key or user), "got" and "expected" (values), "next" (what to do).
        exit_code: The command's exit code: 1 failed, 2 bad input.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", got: str = "", expected: str = "", hint: str = "") -> None:
        self.what = what
        details = {"where": where, "got": got, "expected": expected, "next": hint}
        self.details = {name: text for name, text in details.items() if text}
        super().__init__("\n".join([what, *(f"  {name}: {text}" for name, text in self.details.items())]))

    def with_hint(self, hint: str) -> Self:
        """The same error with another next step."""
        return self._with(self.what, {**self.details, "next": hint})

    def reworded(self, change: Callable[[str], str]) -> Self:
        """The same error with another wording of each part but "got", which quotes the input."""
        details = {name: text if name == "got" else change(text) for name, text in self.details.items()}
        return self._with(change(self.what), details)

    def _with(self, what: str, details: Mapping[str, str]) -> Self:
        parts = {"hint" if name == "next" else name: text for name, text in details.items()}
        return type(self)(what, **parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the finished message, so that worker processes can raise it."""
        return _rebuild, (type(self), str(self), self.what, self.details)


def _rebuild(kind: type[RwkvError], message: str, what: str, details: dict[str, str]) -> RwkvError:
    error = kind(message)
    error.what, error.details = what, details
    return error


class InputError(RwkvError):
    """A path, a file or an argument is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file has problems. All are reported together."""


class HistoryError(InputError):
    """The review history of one user cannot be used. Other users are not affected."""


class StoreError(InputError):
    """An LMDB database is missing, too small, or has another version or other settings."""


class CheckpointError(InputError):
    """A file of weights is missing, truncated, or belongs to another model."""


class SnapshotError(InputError):
    """A saved engine is missing, damaged, or belongs to other weights or another history."""


class DeviceError(InputError):
    """The configured device is not available."""


class BusyError(InputError):
    """Another command is writing to the same place."""


class NonFiniteError(RwkvError):
    """Too many training steps had a non-finite loss or gradient."""


def portable(error: Exception) -> Exception:
    """An error that is none of ours, for another process to raise. Its traceback becomes a note.

    Returns:
        The error; or a RuntimeError with its text, if it cannot be pickled.
    """
    note = "In a worker process:\n" + "".join(format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - a class may fail in any way
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
