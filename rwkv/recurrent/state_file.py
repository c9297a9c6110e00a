"""Bytes of states in a temporary file: read and written in place, so that none counts as memory of the process."""

import os
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from rwkv.errors import StoreError

# (kind, number): a stream, or CURVE, and the number of an entity.
Key = tuple[str, int]

# What varies in size gets room in steps of so many bytes, and finds it again where another has left it.
_STEP = 512
_NEVER = -1


class StateFile:
    """Bytes by key. The file has no name: the system frees it when it is closed, however the process ends.

    folder: on whose disk; None takes the system's folder for temporary files. Raises StoreError where it cannot be
    written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._where = str(folder or tempfile.gettempdir())
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this is)
        except OSError as error:
            raise self._failed(error) from error
        # By kind, at the number of an entity: where its bytes begin, and how many they are, _NEVER without any.
        self._starts: dict[str, array[int]] = {}
        self._sizes: dict[str, array[int]] = {}
        # By room, where there is some that nobody uses.
        self._free: dict[int, list[int]] = {}
        self._end = 0

    def get(self, key: Key) -> bytes | None:
        """What was put last, or None."""
        kind, number = key
        size = self._size(kind, number)
        if size == _NEVER:
            return None
        try:
            return os.pread(self._file.fileno(), size, self._starts[kind][number])
        except OSError as error:
            raise self._failed(error) from error

    def put(self, items: Mapping[Key, bytes]) -> None:
        """Write all items. Where that fails, none of them is what it was."""
        for (kind, number), data in items.items():
            start = self._room(kind, number, len(data))
            try:
                while data:
                    written = os.pwrite(self._file.fileno(), data, start)
                    data, start = data[written:], start + written
            except OSError as error:
                raise self._failed(error) from error

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        """All keys with the number of their bytes."""
        for kind, sizes in self._sizes.items():
            yield from (((kind, number), size) for number, size in enumerate(sizes) if size != _NEVER)

    def close(self) -> None:
        """Free the disk."""
        self._file.close()

    def _room(self, kind: str, number: int, size: int) -> int:
        """Where so many bytes of a key go: where it had its last ones, if they fit, or where there is room."""
        starts, sizes = self._starts.setdefault(kind, array("q")), self._sizes.setdefault(kind, array("q"))
        if number >= len(sizes):
            new = number + 1 - len(sizes)
            starts.extend([0] * new)
            sizes.extend([_NEVER] * new)
        before, wanted = _rounded(sizes[number]), _rounded(size)
        if before != wanted:
            if before > 0:
                self._free.setdefault(before, []).append(starts[number])
            free = self._free.get(wanted)
            if free:
                starts[number] = free.pop()
            else:
                starts[number], self._end = self._end, self._end + wanted
        sizes[number] = size
        return starts[number]

    def _size(self, kind: str, number: int) -> int:
        sizes = self._sizes.get(kind, ())
        return sizes[number] if number < len(sizes) else _NEVER

    def _failed(self, error: OSError) -> StoreError:
        what = "The file of states cannot be written or read."
        hint = "free some of that disk, or give another folder"
        return StoreError(what, where=self._where, got=error.strerror or str(error), hint=hint)


def _rounded(size: int) -> int:
    """The room of so many bytes; _NEVER is none."""
    return -(-size // _STEP) * _STEP if size > 0 else 0
