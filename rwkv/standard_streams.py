"""stdout and stderr of a command. A closed reader affects neither its work nor its exit code."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rwkv.errors import RwkvError

# Errors of writing to a closed or broken stream.
_BROKEN = (OSError, ValueError)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Discard output to a broken stderr, and to a stdout without a reader.

    Raises:
        RwkvError: stdout cannot be written for another reason, such as a full disk.
    """
    _open_missing()
    if isinstance(sys.stdout, io.TextIOWrapper):  # as for stderr: \\u6f22 for a letter outside the encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    before = sys.stdout, sys.stderr
    out, log = _Output(sys.stdout), _Log(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, log)
    try:
        yield
    finally:
        with suppress(RwkvError):  # an earlier flush has reported it
            out.flush()
        log.flush()
        sys.stdout, sys.stderr = before


class _Stream:
    """A text stream that wraps another one and handles its write errors."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text. Returns its length."""
        try:
            return self._stream.write(text)
        except _BROKEN as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except _BROKEN as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Redirect the descriptor to /dev/null, for buffered text and for the output of libraries and workers."""
        with suppress(*_BROKEN):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Log(_Stream):
    """stderr. Its errors are ignored."""


class _Output(_Stream):
    """stdout. A closed reader is ignored; other errors are raised."""

    def _failed(self, error: Exception) -> None:
        super()._failed(error)
        if isinstance(error, BrokenPipeError):
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "check its destination and rerun the command"
        raise RwkvError(f"{reason}: the output was not written.", where="standard output", hint=hint) from error


def _open_missing() -> None:
    """Open /dev/null for a missing stdin, stdout or stderr.

    Otherwise the next opened file, such as a database, would get its descriptor, and the log would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system takes the lowest free number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115
