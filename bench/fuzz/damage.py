"""Damage to the bytes of a file: changed, foreign, zeroed, copied, missing and further bytes."""

from collections.abc import Callable
from random import Random

_SIZES = (1, 2, 4, 8, 16, 64, 512, 4096)
# Files say at their ends what they hold.
_ENDS = 4096
_CHANGES_AT_ONCE = (1, 1, 1, 2, 3)


def damaged(data: bytes, rng: Random) -> bytes:
    """The bytes after one to three changes; at least one of them is other than before."""
    while True:
        changed = bytearray(data)
        for _ in range(rng.choice(_CHANGES_AT_ONCE)):
            rng.choice(_CHANGES)(changed, rng)
        if changed != data:
            return bytes(changed)


def _place(data: bytearray, rng: Random) -> int:
    """A position, a third of the time near each end."""
    near = rng.randrange(min(len(data), _ENDS) or 1)
    return max(0, rng.choice([rng.randrange(len(data) or 1), near, len(data) - 1 - near]))


def _flip(data: bytearray, rng: Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _foreign(data: bytearray, rng: Random) -> None:
    for _ in range(rng.randint(1, 4) if data else 0):
        data[_place(data, rng)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])


def _zero(data: bytearray, rng: Random) -> None:
    start, size = _place(data, rng), rng.choice(_SIZES)
    data[start : start + size] = bytes(len(data[start : start + size]))


def _cut(data: bytearray, rng: Random) -> None:
    del data[_place(data, rng) :]


def _lengthen(data: bytearray, rng: Random) -> None:
    sources: tuple[Callable[[int], bytes], ...] = (bytes, rng.randbytes)
    data += rng.choice(sources)(rng.choice(_SIZES))


def _insert(data: bytearray, rng: Random) -> None:
    start = _place(data, rng)
    data[start:start] = rng.randbytes(rng.choice(_SIZES))


def _remove(data: bytearray, rng: Random) -> None:
    start = _place(data, rng)
    del data[start : start + rng.choice(_SIZES)]


def _copy(data: bytearray, rng: Random) -> None:
    start, other, size = _place(data, rng), _place(data, rng), rng.choice(_SIZES)
    block = data[other : other + size]
    data[start : start + len(block)] = block


_CHANGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _flip,
    _foreign,
    _zero,
    _cut,
    _lengthen,
    _insert,
    _remove,
    _copy,
)
