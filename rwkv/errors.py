"""The errors a user can meet. Each says what happened, where, and what to do next."""


class RwkvError(Exception):
    """Base of all errors that are reported as a message, never as a traceback.

    what: one sentence. where: file, key or user. got, expected: the offending and the wanted value. hint: what next.
    details: those of them that are given, by the name in the message.
    `exit_code` is what a command ends with: 1 failed, 2 bad input.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", got: str = "", expected: str = "", hint: str = "") -> None:
        self.what = what
        details = {"where": where, "got": got, "expected": expected, "next": hint}
        self.details = {name: text for name, text in details.items() if text}
        super().__init__("\n".join([what, *(f"  {name}: {text}" for name, text in self.details.items())]))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by finished message, so that worker processes can raise it."""
        return _rebuild, (type(self), str(self), self.what, self.details)


def _rebuild(kind: type[RwkvError], message: str, what: str, details: dict[str, str]) -> RwkvError:
    error = kind(message)
    error.what, error.details = what, details
    return error


class InputError(RwkvError):
    """Something the user gave is wrong: a path, a file, an argument."""

    exit_code = 2


class ConfigError(InputError):
    """One or more problems in a configuration file, all reported together."""


class HistoryError(InputError):
    """The review history of one user cannot be used; other users are not affected."""


class StoreError(InputError):
    """An LMDB database is missing, of another version, too small or holds other settings."""


class CheckpointError(InputError):
    """A file of weights is missing, truncated, or does not hold this model."""


class SnapshotError(InputError):
    """A file of a saved engine is missing, damaged, or belongs to other weights or another history."""


class DeviceError(InputError):
    """The configured device is not there."""


class BusyError(InputError):
    """Another command is writing where this one is to write."""


class NonFiniteError(RwkvError):
    """Training met too many steps with a non-finite loss or gradient."""
