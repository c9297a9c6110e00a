"""The memory of this process and its workers, and the disk space of folders."""

import os
import threading
from pathlib import Path
from types import TracebackType

_INTERVAL_S = 1.0
_FIELDS = ("Pss_Anon", "Pss_Shmem")


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
    """The bytes of a process and of all its descendants, in any order. Pages that they share are divided."""
    parents = {int(process.name): _parent(process) for process in Path("/proc").glob("[0-9]*")}
    family, new = {pid}, {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        family |= new
    return [_memory(member) for member in family]


def _parent(process: Path) -> int:
    """The parent of a process; 0 for one that has just ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _memory(pid: int) -> int:
    """The bytes of a process that no file has; 0 for one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split(":") for line in lines[1:])
    return sum(1024 * int(values[name].split()[0]) for name in _FIELDS if name in values)


def disk_bytes(folder: Path) -> int:
    """The disk space of a folder's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(512 * path.stat().st_blocks for path in files)
