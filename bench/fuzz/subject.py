"""A kind of file: how a sound one is made, read, and made with wild values; and values that can be compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from random import Random

import numpy as np


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    Attributes:
        name: The name in the figures.
        file: The damaged file within a folder.
        make: Writes a folder with sound files.
        read: Reads a folder as the project does: what it holds, or an RwkvError.
        wild: From a folder with sound files, the bytes of a valid file with wild values.
        has_checksum: Whether damage to the bytes must never lead to another value.
        share: The share of cases relative to other subjects.
    """

    name: str
    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    wild: Callable[[Path, Random], bytes]
    has_checksum: bool = False
    share: float = 1.0


def plain(value: object) -> object:
    """A value that equals another of the same bits: arrays as bytes, dataclasses as dictionaries."""
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype == object else value.tobytes()
        return str(value.dtype), value.shape, content
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(part) for name, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return repr(value)
    return value
