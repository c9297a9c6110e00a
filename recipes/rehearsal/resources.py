"""The memory of this process and its workers, and the disk space of folders."""

import os
import threading
from pathlib import Path
from types import TracebackType

_INTERVAL_S = 0.25
_FIELDS = ("PPid", "RssAnon", "RssShmem")


class MemoryWatch:
    """Samples the memory of this process and its workers while it is open. Linux only; elsewhere the peaks are 0.

    Pages of files are not counted, because the system drops them when memory is short.

    Attributes:
        peak: The most bytes of all processes together.
        peak_of_one: The most bytes of a single process.
    """

    def __init__(self) -> None:
        self.peak = self.peak_of_one = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            memory = _memory_of_family(os.getpid())
            self.peak = max(self.peak, sum(memory))
            self.peak_of_one = max(self.peak_of_one, *memory, 0)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def _memory_of_family(pid: int) -> list[int]:
    """The bytes of a process and of all its descendants, in any order."""
    status = {int(path.name): _status(path) for path in Path("/proc").glob("[0-9]*")}
    family, new = {pid}, {pid}
    while new:
        new = {child for child, values in status.items() if values["PPid"] in new}
        family |= new
    return [1024 * (status[member]["RssAnon"] + status[member]["RssShmem"]) for member in family & status.keys()]


def _status(process: Path) -> dict[str, int]:
    """Some fields of a process, in kilobytes; 0 for one that has just ended."""
    values = dict.fromkeys(_FIELDS, 0)
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return values
    for name, _, value in (line.partition(":") for line in lines):
        if name in values:
            values[name] = int(value.split()[0])
    return values


def disk_bytes(folder: Path) -> int:
    """The disk space of a folder's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(512 * path.stat().st_blocks for path in files)
