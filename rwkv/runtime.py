"""Exit codes, logging and progress bars of every command."""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rwkv.errors import RwkvError
from rwkv.extras import missing_packages
from rwkv.plurals import counted
from rwkv.standard_streams import standard_streams
from rwkv.stopping import Stopped, asked_to_end, kill_workers, stoppable

if TYPE_CHECKING:
    from rwkv.progress_bar import Bar

log = logging.getLogger("rwkv")

Item = TypeVar("Item")

# Control characters except line ends and tabs, marks that change the writing direction, and surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Thresholds of Python's garbage collector. Commands create many objects and almost no cycles; with the default
# thresholds, the search for cycles takes a twentieth of a report's time.
_OBJECTS = 50_000, 20, 100

# Turns of the waiting loop of GCC's OpenMP before a thread sleeps.
_SPINS = "2000"

# The exit code of a command that a signal ended is this plus the signal's number.
_SIGNALLED = 128


class _ProgressHandler(logging.Handler):
    """Writes log lines above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(printable(self.format(record)), file=sys.stderr)


def printable(text: str) -> str:
    """Replace characters that control a terminal or have no UTF-8 encoding. Names in files may contain any.

    Line ends and tabs stay.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def run_command(command: Callable[[], int]) -> int:
    """Run a command with its log on stderr. Errors and signals become a message and an exit code.

    Args:
        command: Parses its arguments and returns its exit code. Its help may be written to a closed pipe, too.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad input, 128 plus the number of a signal.
    """
    _let_others_run()
    gc.set_threshold(*_OBJECTS)
    with standard_streams(), stoppable(), _logging():
        try:
            return _run_and_flush(command)
        except RwkvError as error:
            if (stop := asked_to_end()) is not None:  # the signal also ended a worker, whose end was noticed first
                return _stopped(f"ended by {stop.name}", stop)
            _say(f"error: {error}")
            return error.exit_code
        except Stopped as stopped:
            return _stopped(f"ended by {stopped.signal.name}", stopped.signal)
        except KeyboardInterrupt:
            if (stop := asked_to_end()) is not None:  # Ray raises it for every signal
                return _stopped(f"ended by {stop.name}", stop)
            return _stopped("interrupted", signal.SIGINT)
        except OSError as error:  # not converted to an RwkvError closer to its origin
            _say(f"error: {error}\n  next: check the path, its permissions and the free space")
            return RwkvError.exit_code
        except Exception:  # not expected; its traceback keeps the iterators that would end the workers
            kill_workers()
            raise


def _let_others_run() -> None:
    """Let PyTorch's waiting threads sleep after 0.1 ms, unless the user has set OMP_WAIT_POLICY.

    With OpenMP's default of 20 ms, waiting threads slow the working ones on a busy machine several times. OpenMP reads
    the variable when PyTorch is loaded, here and in workers.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def log_errors_only() -> None:
    """Show only errors and no progress bars until the command ends."""
    log.setLevel(logging.ERROR)


def _run_and_flush(command: Callable[[], int]) -> int:
    try:
        with missing_packages():
            code = command()
    except SystemExit:  # raised by the parser after its help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


@contextmanager
def _logging() -> Iterator[None]:
    handler = _ProgressHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log.handlers[:] = [handler]
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)


def _stopped(how: str, number: int) -> int:
    _say(f"{how}; files already written are kept. Rerun the command to continue.")
    return _SIGNALLED + number


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)


def progress(items: Iterable[Item], total: int, what: str, unit: str = "user", done_before: int = 0) -> "Bar[Item]":
    """Wrap `items` in a progress bar on stderr with rate and remaining time.

    If stderr is not a terminal, there are lines instead of a bar, one every half minute. A quiet log has neither.

    Args:
        items: The items.
        total: The number of items, with those done before.
        what: The bar's title.
        unit: The name of an item; "B" for bytes, which are shown as kB, MB or GB.
        done_before: The number of items done by an earlier run.
    """
    from rwkv.progress_bar import Bar, form  # imports tqdm slowly, and Ctrl-C would not be handled meanwhile

    return Bar(
        items,
        total=total,
        desc=printable(what),
        unit=unit,
        unit_scale=unit == "B",
        initial=done_before,
        disable=log.level > logging.INFO,
        **form(),
    )


@dataclass
class Failures:
    """Users that were skipped because of bad data, listed at the end of the run."""

    errors: dict[int, RwkvError] = field(default_factory=dict)

    def add(self, user: int, error: RwkvError) -> None:
        log.error("user %d skipped: %s", user, error)
        self.errors[user] = error

    def exit_code(self) -> int:
        """Log the skipped users. Returns 1 if there are any, else 0."""
        if not self.errors:
            return 0
        listed = "\n".join(f"  {user}: {error.what}" for user, error in sorted(self.errors.items()))
        what = counted(len(self.errors), "user was", "users were")
        log.error("%s skipped:\n%s", what, listed)
        return 1
