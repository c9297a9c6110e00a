"""The file of a saved engine: one person's data, with fingerprints of the weights and of the history.

The file holds a mark, the length of a JSON header, the header, arrays, states, and the SHA-256 of all of these. The
header gives the number of arrays and states, so the size of the file is checked before they are read.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rwkv.data.history import RevlogTable
from rwkv.errors import SnapshotError
from rwkv.files import file_errors, write_whole_parts
from rwkv.model.runner import Runner
from rwkv.plurals import counted
from rwkv.recurrent.features import reviews_of
from rwkv.recurrent.person import Person, fingerprint_of
from rwkv.recurrent.snapshot_contents import Header, arrays_of, fill_person, header_of

_MARK = b"rwkv-engine-2\n"
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_AT_ONCE = 1 << 24
_PUT_AT_ONCE = 256
# Largest size of a header in bytes; usual ones have a few hundred.
_LONGEST_HEADER = 1 << 16

# The errors of JSON, NumPy and our own checks for damaged contents.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def write_person(path: Path, person: Person, runner: Runner) -> None:
    """Write a person's file atomically.

    Raises:
        InputError: The file cannot be written.
    """
    write_whole_parts(path, _with_digest(_parts(person, runner)))


def read_person(path: Path, template: Person, runner: Runner, history: RevlogTable | None) -> Person:
    """Read a person's file.

    Args:
        path: The file.
        template: A person whose kind of store and source of codes the new one gets; its store is closed at the end.
        runner: Runs the network, whose weights must be those of the file.
        history: If given, must begin with the saved reviews.

    Raises:
        SnapshotError: The file is missing, damaged, or of other weights or another history.
    """
    with file_errors(path):
        if not path.is_file():
            raise SnapshotError("The saved engine does not exist.", where=str(path), hint="check the path")
        with path.open("rb") as file:
            _check_digest(file, path)
            with _decoding(path):
                header = _header(file)
            _check_weights(header, runner, path)  # before the size, which another network has too
            with _decoding(path):
                _check_size(file, path.stat().st_size, header, runner)
            _check_history(header, history, path)
            with _decoding(path):
                person = _read(file, header, template, runner)
    template.store.close()
    return person


def person_bytes(person: Person, runner: Runner) -> int:
    """Size of the file that `write_person` would write, without its header of a few hundred bytes."""
    return header_of(person, weights="").body_bytes(runner.spec)


# --- Writing


def _parts(person: Person, runner: Runner) -> Iterator[bytes]:
    text = json.dumps(asdict(header_of(person, runner.fingerprint))).encode()
    yield _MARK + _LENGTH.pack(len(text)) + text
    yield from (array.tobytes() for array in arrays_of(person).values())
    for _, state in person.store.walk():
        yield state.tobytes()


def _with_digest(parts: Iterator[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        yield part
    yield digest.digest()


# --- Reading


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        what = "The saved engine is damaged or was not written by this program."
        got = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        raise SnapshotError(what, where=str(path), got=got, hint="delete it and feed the history again") from error


def _check_digest(file: BinaryIO, path: Path) -> None:
    """Check the mark and the digest, and leave the file just after its mark."""
    size = path.stat().st_size - _DIGEST_BYTES
    if file.read(len(_MARK)) != _MARK:
        what, hint = "The file is not a saved engine, or is one of another version.", "feed the history again"
        raise SnapshotError(what, where=str(path), hint=hint)
    digest, remaining = hashlib.sha256(_MARK), size - len(_MARK)
    while remaining > 0 and (part := file.read(min(remaining, _READ_AT_ONCE))):
        digest.update(part)
        remaining -= len(part)
    if remaining != 0 or file.read() != digest.digest():
        hint = "delete it and feed the history again"
        raise SnapshotError("The saved engine is truncated or damaged.", where=str(path), hint=hint)
    file.seek(len(_MARK))


def _header(file: BinaryIO) -> Header:
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LONGEST_HEADER:
        raise ValueError(f"the header has {length} bytes")
    return Header.checked(json.loads(file.read(length)))


def _check_size(file: BinaryIO, size: int, header: Header, runner: Runner) -> None:
    """Raise ValueError where a file does not have the size that its header says; file: read up to its header's end."""
    expected = file.tell() + header.body_bytes(runner.spec) + _DIGEST_BYTES
    if size != expected:
        raise ValueError(f"the file has {size} bytes, its header says {expected}")


def _check_weights(header: Header, runner: Runner, path: Path) -> None:
    ours = runner.fingerprint
    if header.weights != ours:
        what = "The engine was saved with other weights, so its states cannot be used."
        hint = "load the weights it was saved with, or feed the history again"
        raise SnapshotError(what, where=str(path), got=ours, expected=header.weights, hint=hint)


def _check_history(header: Header, history: RevlogTable | None, path: Path) -> None:
    if history is None:
        return
    reviews = header.reviews
    ours = fingerprint_of(islice(reviews_of(history), reviews)).hex()
    if len(history) < reviews or ours != header.history:
        what = "The engine was saved after another history."
        got = f"{counted(len(history), 'review')}; fingerprint of the first {min(reviews, len(history))}: {ours}"
        expected = f"at least {counted(reviews, 'review')}; fingerprint of the first {reviews}: {header.history}"
        hint = "feed the history again"
        raise SnapshotError(what, where=str(path), got=got, expected=expected, hint=hint)


def _read(file: BinaryIO, header: Header, template: Person, runner: Runner) -> Person:
    def array(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(bytearray(file.read(count)), dtype).reshape(shape)

    arrays = {name: array(*form) for name, form in header.array_forms().items()}
    person = template.empty_copy(header.sequence_draw())
    try:
        fill_person(person, header, arrays)
        for kind, size in header.state_sizes(runner.spec).items():
            numbers = iter(arrays[f"{kind} states"].tolist())
            while batch := list(islice(numbers, _PUT_AT_ONCE)):
                person.store.put({(kind, number): array("<f4", (1, size)) for number in batch})
    except BaseException:
        person.store.close()
        raise
    return person
