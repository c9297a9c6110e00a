"""stdout and stderr of a command: a reader that is gone, or never was, decides neither the work nor its verdict."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rwkv.errors import RwkvError

# What writing to a stream raises that is closed, broken, or none of a file.
_BROKEN = (OSError, ValueError)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Inside, what is written to stderr is lost where it cannot be written, and to stdout where nobody reads it.

    What cannot be written to stdout for another reason is an RwkvError.
    """
    _open_missing()
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr does with letters that its encoding lacks: \\u6f22
        sys.stdout.reconfigure(errors="backslashreplace")
    before = sys.stdout, sys.stderr
    out, log = _Output(sys.stdout), _Log(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, log)
    try:
        yield
    finally:
        with suppress(RwkvError):  # flushed before, it was told
            out.flush()
        log.flush()
        sys.stdout, sys.stderr = before


class _Stream:
    """A text stream; what it cannot do itself its own does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of a text stream."""
        try:
            return self._stream.write(text)
        except _BROKEN as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """As of a text stream."""
        try:
            self._stream.flush()
        except _BROKEN as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """From now on nothing is written: neither what is still in buffers, nor what libraries and workers say."""
        with suppress(*_BROKEN):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Log(_Stream):
    """stderr: whatever happens to it, the work goes on."""


class _Output(_Stream):
    """stdout: its reader may have had enough, but what nobody refused must not get lost."""

    def _failed(self, error: Exception) -> None:
        super()._failed(error)
        if isinstance(error, BrokenPipeError):
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "see to where it goes, and run the command again"
        raise RwkvError(f"{reason}: the output was not written.", where="standard output", hint=hint) from error


def _open_missing() -> None:
    """Give a command without stdin, stdout or stderr one that goes nowhere.

    Else the next file that is opened, such as a database, took the place, and what is logged were written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is taken.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115
