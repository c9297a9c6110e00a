"""Where states live: the latest used in memory, up to a bound, the others in a file on disk."""

import os
import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rwkv.errors import StoreError

DEFAULT_MEMORY = 1_000_000_000

# The kind of what the heads said of a card's latest review row, [1, 260]; the other kinds are the streams.
CURVE = "curve"

# So much of the memory is left in use once it was full.
_KEPT_SHARE = 0.75
# So many states are encoded and written at a time: more would take memory that the system has to give anew.
_WRITTEN_TOGETHER = 256
# About what Python and torch need for an entry beside its numbers.
_OVERHEAD = 400

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


class StateStore:
    """Flat states float32 [1, S] by key. A state that was put must not be changed afterwards.

    memory: bytes that states may take in memory. folder: where those that do not fit are written, a temporary file;
    None takes the system's folder for such.
    Raises StoreError where the disk is full; what was put is then held in memory, beyond the bound.
    """

    def __init__(self, memory: int = DEFAULT_MEMORY, folder: Path | None = None) -> None:
        self._memory = memory
        self._folder = folder
        self._held: OrderedDict[Key, Tensor | None] = OrderedDict()
        self._unwritten: set[Key] = set()
        self._bytes = 0
        self._file: StateFile | None = None
        self._below: StateStore | None = None

    def like(self) -> "StateStore":
        """An empty store of the same size in the same place."""
        return StateStore(self._memory, self._folder)

    def branch(self) -> "StateStore":
        """A store that begins with these states, to go its own way; this one must not be put to before it is closed."""
        store = self.like()
        store._below = self
        return store

    def get(self, key: Key) -> Tensor | None:
        """A state, or None where there is none."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        state = self._stored(key)
        if state is not None:
            self._hold(key, state)
            self._make_room()
        return state

    def put(self, states: Mapping[Key, Tensor | None]) -> None:
        """Keep states in place of those before; None takes one away."""
        for key, state in states.items():
            self._hold(key, state)
            self._unwritten.add(key)
        self._make_room()

    def all_keys(self) -> list[Key]:
        """All keys that have a state, ordered."""
        keys = {key for key, state in self._held.items() if state is not None}
        if self._file is not None:
            keys |= {key for key, size in self._file if size > 0 and key not in self._held}
        if self._below is not None:
            keys |= {key for key in self._below.all_keys() if key not in keys and self.get(key) is not None}
        return sorted(keys)

    def walk(self) -> Iterator[tuple[Key, Tensor]]:
        """All states in order of their keys; none of them counts as used."""
        for key in self.all_keys():
            state = self._held.get(key)
            if state is None:
                state = self._stored(key)
            if state is not None:
                yield key, state

    def close(self) -> None:
        """Delete what is on disk; the store is empty afterwards."""
        if self._file is not None:
            self._file.close()
        self._held.clear()
        self._unwritten.clear()
        self._file, self._bytes = None, 0

    def _hold(self, key: Key, state: Tensor | None) -> None:
        if key in self._held:
            self._bytes -= _size(self._held.pop(key))
        self._held[key] = state
        self._bytes += _size(state)

    def _make_room(self) -> None:
        """Move the longest unused to disk, once there are too many."""
        if self._bytes <= self._memory:
            return
        leaving, size = [], self._bytes
        for key, state in self._held.items():
            if size <= _KEPT_SHARE * self._memory:
                break
            leaving.append(key)
            size -= _size(state)
        for start in range(0, len(leaving), _WRITTEN_TOGETHER):
            some = leaving[start : start + _WRITTEN_TOGETHER]
            self._write({key: self._held[key] for key in some if key in self._unwritten})
            for key in some:
                self._bytes -= _size(self._held.pop(key))
                self._unwritten.discard(key)

    def _write(self, states: Mapping[Key, Tensor | None]) -> None:
        """Those taken away are kept as nothing, which hides what the file held before."""
        encoded = {key: b"" if state is None else state.numpy().tobytes() for key, state in states.items()}
        self._opened().put(encoded)

    def _stored(self, key: Key) -> Tensor | None:
        """A state that is not held: from the file, or where that has never had it, from the store below."""
        data = None if self._file is None else self._file.get(key)
        if data is None:
            return None if self._below is None else self._below.get(key)
        return torch.from_numpy(np.frombuffer(bytearray(data), np.float32)[None]) if data else None

    def _opened(self) -> StateFile:
        if self._file is None:
            self._file = StateFile(self._folder)
        return self._file


def _size(state: Tensor | None) -> int:
    return _OVERHEAD + (0 if state is None else 4 * state.numel())


def _rounded(size: int) -> int:
    """The room of so many bytes; _NEVER is none."""
    return -(-size // _STEP) * _STEP if size > 0 else 0
