"""The edge of every command: exit codes, logging and progress bars."""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rwkv.errors import RwkvError
from rwkv.standard_streams import standard_streams
from rwkv.stopping import Stopped, asked_to_end, stoppable

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger("rwkv")

Item = TypeVar("Item")

# Control characters but line ends and tabs, marks that turn the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# After so many new objects Python looks for cycles among them, and how often among older ones. Commands make many
# objects and next to no cycles; to look as often as it does by itself takes a twentieth of the time of a report.
_OBJECTS = 50_000, 20, 100

# So many turns of a waiting loop GCC's OpenMP makes before a thread sleeps.
_SPINS = "2000"

# What shells add to the number of the signal that ended a command.
_SIGNALLED = 128


class _ProgressHandler(logging.Handler):
    """Log lines that do not tear progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(printable(self.format(record)), file=sys.stderr)


def printable(text: str) -> str:
    """A text without what a terminal would obey, or UTF-8 cannot say: names within a file, and of files, hold anything.

    Line ends and tabs stay.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def run_command(command: Callable[[], int]) -> int:
    """Run a command: log to stderr, turn our errors and the signals that end it into a message and an exit code.

    The parsing of arguments is a part of it, for what that prints may find no reader either.
    """
    _let_others_run()
    gc.set_threshold(*_OBJECTS)
    with standard_streams(), stoppable(), _logging():
        try:
            return _run_and_flush(command)
        except RwkvError as error:
            if (stop := asked_to_end()) is not None:  # which has ended a worker, too, and that was noticed first
                return _stopped(f"ended by {stop.name}", stop)
            _say(f"error: {error}")
            return error.exit_code
        except Stopped as stopped:
            return _stopped(f"ended by {stopped.signal.name}", stopped.signal)
        except KeyboardInterrupt:
            return _stopped("interrupted", signal.SIGINT)
        except OSError as error:  # what no door below has put into words of its own
            _say(f"error: {error}\n  next: see to the path, its permissions and the free space")
            return RwkvError.exit_code


def _let_others_run() -> None:
    """Have PyTorch's threads wait for one another awake for 0.1 ms only, unless the user has said something else.

    OpenMP's 20 ms keep a busy machine from what they wait for: commands then take several times as long. It reads this
    when PyTorch is loaded, here and in workers.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def log_errors_only() -> None:
    """Until the command ends: of the log only errors, and no progress bars."""
    log.setLevel(logging.ERROR)


def _run_and_flush(command: Callable[[], int]) -> int:
    try:
        code = command()
    except SystemExit:  # of the parser, which has printed its help
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
    _say(f"{how}; nothing that was written is lost, and the same command does the rest")
    return _SIGNALLED + number


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)


def progress(
    items: Iterable[Item], total: int | None, what: str, unit: str = "user", done_before: int = 0
) -> "tqdm[Item]":
    """A progress bar on stderr around `items`, with rate and time left; `total` counts what was done before too.

    None is shown where the log is quiet.
    """
    from tqdm import tqdm  # Ctrl-C is heard sooner without it

    return tqdm(
        items,
        total=total,
        desc=printable(what),
        unit=unit,
        initial=done_before,
        dynamic_ncols=True,
        mininterval=0.5,
        disable=log.level > logging.INFO,
    )


def progress_by_size(items: Iterable[Item], sizes: Sequence[int], what: str, unit: str) -> Iterator[Item]:
    """The items, with a progress bar as of `progress` that counts units: sizes[i] of them once item i is dealt with."""
    with progress((), sum(sizes), what, unit) as bar:
        for item, size in zip(items, sizes, strict=True):
            yield item
            bar.update(size)


@dataclass
class Failures:
    """Users that were skipped because of their own data; the run goes on and says so at the end."""

    errors: dict[int, RwkvError] = field(default_factory=dict)

    def add(self, user: int, error: RwkvError) -> None:
        log.error("user %d skipped: %s", user, error)
        self.errors[user] = error

    def exit_code(self) -> int:
        """0, or 1 after a closing list of the users that were skipped."""
        if not self.errors:
            return 0
        listed = "\n".join(f"  {user}: {error.what}" for user, error in sorted(self.errors.items()))
        log.error("%d users were skipped:\n%s", len(self.errors), listed)
        return 1
