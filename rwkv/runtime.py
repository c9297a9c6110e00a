"""The edge of every command: exit codes, logging, progress bars and worker processes."""

import io
import logging
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tqdm import tqdm

from rwkv.errors import RwkvError

log = logging.getLogger("rwkv")

Result = TypeVar("Result")
Item = TypeVar("Item")

# Control characters but line ends and tabs, marks that turn the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_TASKS_PER_WORKER = 4
_INTERRUPTED = 130


class _ProgressHandler(logging.Handler):
    """Log lines that do not tear progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stderr)


def printable(text: str) -> str:
    """A text without what a terminal would obey, or UTF-8 cannot say: names within a file, and of files, hold anything.

    Line ends and tabs stay.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def take_any_text() -> None:
    """Let stdout write letters that its encoding lacks as stderr does, such as \\u6f22, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def run_command(command: Callable[[], int], quiet: bool = False) -> int:
    """Run a command: log to stderr, turn our errors into a message and their exit code.

    quiet: of the log only errors, and no progress bars.
    """
    take_any_text()
    handler = _ProgressHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log.handlers[:] = [handler]
    level = log.level
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        return command()
    except RwkvError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing that was written is lost, and the same command does the rest", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what no door below has put into words of its own
        hint = "see to the path, its permissions and the free space"
        print(printable(f"error: {error}\n  next: {hint}"), file=sys.stderr)
        return RwkvError.exit_code
    finally:
        log.setLevel(level)


def progress(
    items: Iterable[Item], total: int | None, what: str, unit: str = "user", done_before: int = 0
) -> "tqdm[Item]":
    """A progress bar on stderr around `items`, with rate and time left; `total` counts what was done before too.

    None is shown where the log is quiet.
    """
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


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a job made of one user: a result or an error."""

    user: int
    result: Result | None
    error: RwkvError | None


def _attempt(job: Callable[[int], Result], user: int) -> Outcome[Result]:
    try:
        return Outcome(user, job(user), None)
    except RwkvError as error:
        return Outcome(user, None, error)


def _end_with_parent() -> None:
    """In a worker: end once the command is gone, however it was killed, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_users(job: Callable[[int], Result], users: list[int], processes: int) -> Iterator[Outcome[Result]]:
    """Run a picklable job for every user, in this process or in several; outcomes come as they are ready.

    At most a few tasks a worker are under way, so memory does not grow with the number of users.
    """
    if processes <= 1 or len(users) <= 1:
        yield from (_attempt(job, user) for user in users)
        return
    waiting = iter(users)
    under_way: set[Future[Outcome[Result]]] = set()
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(users))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            while True:
                for user in waiting:
                    under_way.add(pool.submit(_attempt, job, user))
                    if len(under_way) >= processes * _TASKS_PER_WORKER:
                        break
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            hint = "lower PROCESSES and run the command again; it continues where it stopped"
            raise RwkvError("A worker process was killed, most likely for want of memory.", hint=hint) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
