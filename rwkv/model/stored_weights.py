"""A weight as it is stored in a file: its kind, its shape, and its values on demand."""

import math
from dataclasses import dataclass, field

import numpy as np

from rwkv.arrays import Float32s
from rwkv.model.weight_table import Shape

# How NumPy reads each kind of number that a weight may have. Two bytes of bfloat16 are the upper half of a float32.
_NUMPY = {"float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "u2"}
FLOATS = tuple(_NUMPY)


@dataclass
class Storage:
    """The numbers that weights of a file share.

    Attributes:
        dtype: Kind of its numbers, as PyTorch names it.
        count: Number of its numbers.
        data: Their bytes; None until they are read.
        is_big_endian: Whether the most significant byte comes first.
    """

    dtype: str
    count: int
    data: bytes | bytearray | memoryview | None = field(default=None, repr=False)
    is_big_endian: bool = False


@dataclass(frozen=True)
class StoredWeight:
    """A tensor in a file.

    Attributes:
        kind: Kind of its numbers as PyTorch names it, or of the tensor if that is not a dense one.
        shape: Its sizes; empty for a tensor that cannot be a weight.
        storage: Its numbers; None for a tensor that cannot be a weight.
        start: Place of its first number in the storage.
        strides: Places from one index to the next in each dimension.
        is_negated: Whether all numbers change their sign when they are read.
    """

    kind: str
    shape: Shape = ()
    storage: Storage | None = None
    start: int = 0
    strides: Shape = ()
    is_negated: bool = False

    @property
    def odd_kind(self) -> str | None:
        """The kind of a tensor that cannot be a weight; None for a usable one."""
        return None if self.storage is not None else self.kind

    def bits(self) -> np.ndarray:
        """The numbers as stored, [shape], in memory of their own; bfloat16 as uint16.

        Raises:
            ValueError: They lie outside of the storage, or the tensor cannot be a weight.
        """
        if self.storage is None or self.storage.data is None:
            raise ValueError(f"a tensor of kind {self.kind} has no values")
        last = self.start + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min(self.start, *self.strides, *self.shape, 0) < 0 or (0 not in self.shape and last >= self.storage.count):
            raise ValueError("a tensor lies outside of its storage")
        dtype = np.dtype(_NUMPY[self.kind]).newbyteorder(">" if self.storage.is_big_endian else "<")
        flat = np.frombuffer(self.storage.data, dtype, self.storage.count)
        places = [stride * dtype.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(flat[self.start :], self.shape, places)
        bits = np.empty(self.shape, _NUMPY[self.kind])
        bits[...] = view
        return -bits if self.is_negated and self.kind != "bfloat16" else bits

    def values(self) -> Float32s:
        """The numbers as float32 [shape]. Raises like `bits`."""
        bits = self.bits()
        if self.kind != "bfloat16":
            return bits.astype(np.float32, copy=False)
        wide = (bits.astype(np.uint32) << 16).view(np.float32)
        return -wide if self.is_negated else wide


def stored_weight(dtype: str, shape: Shape, data: bytes | bytearray) -> StoredWeight:
    """A weight whose numbers lie in `data` row after row. One whose dtype is not in FLOATS cannot be a weight."""
    if dtype not in FLOATS:
        return StoredWeight(dtype)
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return StoredWeight(dtype, shape, Storage(dtype, math.prod(shape), data), 0, tuple(strides[: len(shape)]))
