"""A command as a process with everything that it starts, recognised by a mark in the environment (Linux)."""

import os
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

_REPOSITORY = Path(__file__).resolve().parents[2]
_MARK = "RWKV_BENCH_KILLS"
_HELPERS = ("resource_tracker", "forkserver")


class Command:
    """A running command.

    Args:
        arguments: The command line.
        log: The file of its output.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._log = log
        self._mark = uuid.uuid4().hex
        self._output: IO[bytes] = log.open("wb")
        environment = os.environ | {_MARK: self._mark, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            arguments,
            cwd=_REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it is still running after so long."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def others(self) -> list[int]:
        """All living processes of the command besides itself."""
        return [pid for pid in _living(self._mark) if pid != self.pid]

    def workers(self) -> list[int]:
        """Those that work, without Python's own helpers."""
        return [pid for pid in self.others() if not any(helper in _command_line(pid) for helper in _HELPERS)]

    def orphans(self, patience_s: float) -> list[int]:
        """The processes that still live so long after the command's end. They are ended here."""
        deadline = time.monotonic() + patience_s
        while (left := self.others()) and time.monotonic() < deadline:
            time.sleep(0.05)
        send(signal.SIGKILL, *left)
        return left

    def end(self) -> None:
        """End whatever is left of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.orphans(0)
        self._output.close()


def send(number: signal.Signals, *pids: int) -> None:
    """Send a signal to processes that may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _living(mark: str) -> list[int]:
    """The processes with a mark, without those that have ended."""
    wanted = f"{_MARK}={mark}".encode()
    living = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            # The environment of a process that has ended is empty.
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                living.append(int(folder.name))
    return living


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
