"""A person in a file: all that the next review needs, with fingerprints of the weights and of the history.

The file: a mark, the length of a JSON header, the header, arrays, states, and the SHA-256 of all of these.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from rwkv.data.history import RevlogTable
from rwkv.errors import SnapshotError
from rwkv.files import file_errors, write_whole_parts
from rwkv.model.checkpoint import weights_fingerprint
from rwkv.model.inputs import SequenceDraw
from rwkv.model.network import Network
from rwkv.model.packed import outputs_size, state_size
from rwkv.recurrent.features import CardPast, Place, Totals, reviews_of
from rwkv.recurrent.person import Person, fingerprint_of
from rwkv.recurrent.state_store import CURVE
from rwkv.vocab import STREAMS

_MARK = b"rwkv-engine-1\n"
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_AT_ONCE = 1 << 24
_PUT_AT_ONCE = 256


def write_person(path: Path, person: Person, network: Network) -> None:
    """Write a person; the file appears whole or not at all. Raises InputError where it cannot be written."""
    write_whole_parts(path, _with_digest(_parts(person, network)))


def read_person(path: Path, like: Person, network: Network, history: RevlogTable | None) -> Person:
    """The person in a file, states kept as those of `like`, whose store is closed once all is read.

    Raises SnapshotError where the file is missing, damaged, or of other weights, or where the saved reviews are not the
    first of `history` (if not None).
    """
    with file_errors(path):
        if not path.is_file():
            raise SnapshotError("There is no file of a saved engine.", where=str(path))
        with path.open("rb") as file:
            _check_whole(file, path)
            header = _header(file)
            _check_weights(header, network, path)
            _check_history(header, history, path)
            person = _read(file, header, like)
    like.store.close()
    return person


# --- Writing


def _parts(person: Person, network: Network) -> Iterator[bytes]:
    arrays, sizes = _arrays(person), {CURVE: outputs_size(network.spec)}
    sizes |= {stream.name: state_size(network.spec, stream) for stream in network.spec.streams}
    header = {
        "weights": weights_fingerprint(network.state_dict()),
        "history": person.fingerprint.hex(),
        "draw": [person.draw.prefix, person.draw.phases],
        "totals": person.counters.totals,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
        "states": [[kind, number, sizes[kind]] for kind, number in person.store.all_keys()],
    }
    text = json.dumps(header).encode()
    yield _MARK + _LENGTH.pack(len(text)) + text
    yield from (array.tobytes() for array in arrays.values())
    for _, state in person.store.walk():
        yield state.numpy().tobytes()


def _arrays(person: Person) -> dict[str, np.ndarray]:
    cards = person.counters.cards
    rows = [[card, *past[:-1], *past.place] for card, past in cards.items()]
    arrays: dict[str, np.ndarray] = {"cards": np.array(rows, np.int64)}
    for stream, numbers in person.identities.numbers.items():
        arrays[stream] = np.array(list(numbers), np.int64)
    for stream in person.identities.coded:
        arrays[f"{stream} codes"] = person.identities.known(stream)
    return arrays


def _with_digest(parts: Iterator[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        yield part
    yield digest.digest()


# --- Reading


@dataclass(frozen=True)
class _Body:
    """What follows the header, read from front to back."""

    file: BinaryIO

    def array(self, dtype: str, shape: list[int]) -> np.ndarray:
        count = int(np.prod(shape))
        data = bytearray(self.file.read(count * np.dtype(dtype).itemsize))
        return np.frombuffer(data, dtype).reshape(shape)


def _check_whole(file: BinaryIO, path: Path) -> None:
    """Leaves the file behind its mark, once its digest was found right."""
    size = path.stat().st_size - _DIGEST_BYTES
    if file.read(len(_MARK)) != _MARK:
        raise SnapshotError("This is no file of a saved engine, or one of another version.", where=str(path))
    digest, left = hashlib.sha256(_MARK), size - len(_MARK)
    while left > 0 and (part := file.read(min(left, _READ_AT_ONCE))):
        digest.update(part)
        left -= len(part)
    if left != 0 or file.read() != digest.digest():
        raise SnapshotError("The file of a saved engine is truncated or damaged.", where=str(path))
    file.seek(len(_MARK))


def _header(file: BinaryIO) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    return json.loads(file.read(length))


def _check_weights(header: dict[str, Any], network: Network, path: Path) -> None:
    ours = weights_fingerprint(network.state_dict())
    if header["weights"] != ours:
        what = "The engine was saved with other weights; its states mean nothing to these."
        hint = "load the weights it was saved with, or feed the history anew"
        raise SnapshotError(what, where=str(path), got=ours, expected=header["weights"], hint=hint)


def _check_history(header: dict[str, Any], history: RevlogTable | None, path: Path) -> None:
    reviews = Totals(*header["totals"]).reviews
    if history is None:
        return
    ours = fingerprint_of(islice(reviews_of(history), reviews)).hex()
    if len(history) < reviews or ours != header["history"]:
        what = "The engine was saved after another history than the given one."
        got = f"{len(history)} reviews, of which the first {min(reviews, len(history))} have fingerprint {ours}"
        expected = f"at least {reviews} reviews, the first of them with fingerprint {header['history']}"
        hint = "feed the history anew"
        raise SnapshotError(what, where=str(path), got=got, expected=expected, hint=hint)


def _read(file: BinaryIO, header: dict[str, Any], like: Person) -> Person:
    body = _Body(file)
    arrays = {name: body.array(dtype, shape) for name, dtype, shape in header["arrays"]}
    prefix, phases = header["draw"]
    person = like.like(SequenceDraw(prefix, tuple(phases)))
    person.fingerprint = bytes.fromhex(header["history"])
    person.counters.totals = Totals(*header["totals"])
    for card, *row in arrays["cards"].tolist():
        note, deck, preset, *missing = row[5:]
        place = Place(note, deck, preset, *map(bool, missing))
        person.counters.cards[card] = CardPast._make([*row[:5], place])
    for stream in STREAMS:
        person.identities.restore(stream, arrays[stream].tolist(), arrays.get(f"{stream} codes"))
    states = iter(header["states"])
    while some := list(islice(states, _PUT_AT_ONCE)):
        read = {(kind, number): body.array("<f4", [1, count]) for kind, number, count in some}
        person.store.put({key: torch.from_numpy(array) for key, array in read.items()})
    return person
