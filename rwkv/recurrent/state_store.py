"""The store of states: the most recently used in memory up to a bound, the others in a file on disk."""

import os
import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rwkv.arrays import Float32s
from rwkv.errors import StoreError

DEFAULT_MEMORY = 1_000_000_000

# Kind of the joined outputs of the heads for a card's latest review row, [1, outputs]. The other kinds are the streams.
CURVE = "curve"

# Share of the memory that stays in use after states are moved to disk.
_KEPT_SHARE = 0.75
# States encoded and written at a time, which bounds the temporary memory.
_WRITTEN_TOGETHER = 256
# Approximate bytes of an entry in Python and NumPy besides its values.
_OVERHEAD = 400

# (kind, number): a stream or CURVE, and the number of an entity.
Key = tuple[str, int]
# Space in the file is allocated in multiples of this many bytes, so that freed space can be reused.
_STEP = 512
# Size of an entity that was never put.
_NEVER = -1


class StateFile:
    """A file of bytes by key. It has no name, so the system frees it however the process ends.

    Args:
        folder: Folder of the file; None for the system's folder of temporary files.

    Raises:
        StoreError: The file cannot be written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._where = str(folder or tempfile.gettempdir())
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this object)
        except OSError as error:
            raise self._failed(error) from error
        # For each kind, by number of the entity: the start and the size of its bytes.
        self._starts: dict[str, array[int]] = {}
        self._sizes: dict[str, array[int]] = {}
        # Starts of free spaces, by their size.
        self._free: dict[int, list[int]] = {}
        self._end = 0

    def get(self, key: Key) -> bytes | None:
        """The bytes put last, or None."""
        kind, number = key
        size = self._size(kind, number)
        if size == _NEVER:
            return None
        try:
            return os.pread(self._file.fileno(), size, self._starts[kind][number])
        except OSError as error:
            raise self._failed(error) from error

    def put(self, items: Mapping[Key, bytes]) -> None:
        """Write all items. If that fails, none of their earlier values is valid."""
        for (kind, number), data in items.items():
            start = self._allocate(kind, number, len(data))
            try:
                while data:
                    written = os.pwrite(self._file.fileno(), data, start)
                    data, start = data[written:], start + written
            except OSError as error:
                raise self._failed(error) from error

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        """All keys with their sizes in bytes."""
        for kind, sizes in self._sizes.items():
            yield from (((kind, number), size) for number, size in enumerate(sizes) if size != _NEVER)

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()

    def _allocate(self, kind: str, number: int, size: int) -> int:
        """The start of `size` bytes for a key: its present space if that has the right size, or another."""
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
        what = "Cannot write or read the file of states."
        hint = "free space on that disk, or choose another folder"
        return StoreError(what, where=self._where, got=error.strerror or str(error), hint=hint)


class StateStore:
    """Flat states, float32 [1, state], by key. Do not change a state after putting it.

    Args:
        memory: Bytes of states to keep in memory.
        folder: Folder of the temporary file for the others; None for the system's.

    Raises:
        StoreError: The disk is full. All states then stay in memory, beyond the bound.
    """

    def __init__(self, memory: int = DEFAULT_MEMORY, folder: Path | None = None) -> None:
        self._memory = memory
        self._folder = folder
        self._held: OrderedDict[Key, Float32s | None] = OrderedDict()
        self._unwritten: set[Key] = set()
        self._bytes = 0
        self._file: StateFile | None = None
        self._base: StateStore | None = None

    def empty_copy(self) -> "StateStore":
        """An empty store with the same memory and folder."""
        return StateStore(self._memory, self._folder)

    def branch(self) -> "StateStore":
        """A store that starts with these states and changes independently. Do not change this one before it closes."""
        store = self.empty_copy()
        store._base = self
        return store

    def get(self, key: Key) -> Float32s | None:
        """The state of a key, or None."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        state = self._stored(key)
        if state is not None:
            self._hold(key, state)
            self._make_room()
        return state

    def put(self, states: Mapping[Key, Float32s | None]) -> None:
        """Replace states by key; None removes a state."""
        for key, state in states.items():
            self._hold(key, state)
            self._unwritten.add(key)
        self._make_room()

    def all_keys(self) -> list[Key]:
        """All keys that have a state, sorted."""
        keys = {key for key, state in self._held.items() if state is not None}
        if self._file is not None:
            keys |= {key for key, size in self._file if size > 0 and key not in self._held}
        if self._base is not None:
            keys |= {key for key in self._base.all_keys() if key not in keys and self.get(key) is not None}
        return sorted(keys)

    def walk(self) -> Iterator[tuple[Key, Float32s]]:
        """All states sorted by key, without marking them as used."""
        for key in self.all_keys():
            state = self._held.get(key)
            if state is None:
                state = self._stored(key)
            if state is not None:
                yield key, state

    def close(self) -> None:
        """Free the memory and the file; the store is empty afterwards."""
        if self._file is not None:
            self._file.close()
        self._held.clear()
        self._unwritten.clear()
        self._file, self._bytes = None, 0

    def _hold(self, key: Key, state: Float32s | None) -> None:
        if key in self._held:
            self._bytes -= _size(self._held.pop(key))
        self._held[key] = state
        self._bytes += _size(state)

    def _make_room(self) -> None:
        """Move the least recently used states to disk if the memory is exceeded."""
        if self._bytes <= self._memory:
            return
        leaving, size = [], self._bytes
        for key, state in self._held.items():
            if size <= _KEPT_SHARE * self._memory:
                break
            leaving.append(key)
            size -= _size(state)
        for start in range(0, len(leaving), _WRITTEN_TOGETHER):
            part = leaving[start : start + _WRITTEN_TOGETHER]
            self._write({key: self._held[key] for key in part if key in self._unwritten})
            for key in part:
                self._bytes -= _size(self._held.pop(key))
                self._unwritten.discard(key)

    def _write(self, states: Mapping[Key, Float32s | None]) -> None:
        """Write states to the file. A removed state is written as no bytes, which hides its earlier value."""
        encoded = {key: b"" if state is None else state.tobytes() for key, state in states.items()}
        self._opened().put(encoded)

    def _stored(self, key: Key) -> Float32s | None:
        """A state that is not in memory: from the file, or if it was never there, from the base store."""
        data = None if self._file is None else self._file.get(key)
        if data is None:
            return None if self._base is None else self._base.get(key)
        return np.frombuffer(bytearray(data), np.float32)[None] if data else None

    def _opened(self) -> StateFile:
        if self._file is None:
            self._file = StateFile(self._folder)
        return self._file


def _size(state: Float32s | None) -> int:
    return _OVERHEAD + (0 if state is None else state.nbytes)


def _rounded(size: int) -> int:
    """The space allocated for `size` bytes."""
    return -(-size // _STEP) * _STEP if size > 0 else 0
