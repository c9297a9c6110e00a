"""Saved engines, and predictions of past reviews beside them."""

import hashlib
import json
import struct
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from bench.fuzz import values
from bench.fuzz.subject import Subject
from rwkv.collection.kept_predictions import read_predictions, write_predictions
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.model.checkpoint import weights_of
from rwkv.model.inputs import draw_sequence
from rwkv.model.runner import Runner, runner_of
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from rwkv.recurrent.person import Question
from tests.helpers import make_table, random_revlog
from tests.networks import native_network

_STATE, _PREDICTIONS = "state.rwkv", "predictions.rwkv"
_REVIEWS = 40
_MARK, _DIGEST = len(b"rwkv-engine-2\n"), 32


@cache
def _runner() -> Runner:
    return runner_of(weights_of(native_network()), 1)


@cache
def _history() -> RevlogTable:
    return make_table(random_revlog(83, _REVIEWS + 1, 12))


def _engine() -> Engine:
    return Engine(_runner(), draw_sequence(1))


@cache
def _fed() -> Engine:
    engine = _engine()
    engine.feed(_history().part(slice(_REVIEWS)))
    return engine


def _make(folder: Path) -> None:
    folder.mkdir()
    engine = _engine()
    predictions = engine.feed(_history().part(slice(_REVIEWS)))
    engine.save(folder / _STATE)
    write_predictions(folder / _PREDICTIONS, engine, predictions)


def _read_state(folder: Path) -> object:
    """What an engine predicts from the states, and saves after another review."""
    engine = _engine()
    try:
        engine.restore(folder / _STATE)
        last = list(reviews_of(_history()))[-1]
        day = last.day_offset
        predicted = engine.predict_many([Question(card, day + 1, 1, 86_400) for card in engine.cards[:3]])
        answer = engine.answer(last)
        engine.undo()
        engine.save(folder / "again.rwkv")
        return predicted, answer, (folder / "again.rwkv").read_bytes()
    finally:
        engine.close()


def _read_predictions(folder: Path) -> object:
    """The predictions. Where there are none, they are computed again."""
    predictions = read_predictions(folder / _PREDICTIONS, _fed())
    if predictions is None:
        raise InputError("The predictions are damaged.")
    return predictions


def _wild_state(folder: Path, rng: Random) -> bytes:
    whole = (folder / _STATE).read_bytes()
    (length,) = struct.unpack_from("<Q", whole, _MARK)
    start = _MARK + 8
    header, body = whole[start : start + length], bytearray(whole[start + length : -_DIGEST])
    if rng.random() < 0.4:
        header = json.dumps(values.changed(json.loads(header), rng)).encode()
    else:
        for _ in range(rng.randint(1, 3)):
            place, size = rng.choice([rng.randrange(len(body)), rng.randrange(4000)]), rng.choice([1, 4, 8])
            body[place : place + size] = rng.choice([rng.randbytes(size), b"\xff" * size, bytes(size), b"\x7f" * size])
    content = whole[:_MARK] + struct.pack("<Q", len(header)) + header + body
    return content + hashlib.sha256(content).digest()


def _wild_predictions(folder: Path, rng: Random) -> bytes:
    whole = (folder / _PREDICTIONS).read_bytes()
    heading = whole[: whole.index(b"\n") + 1]
    count = rng.choice([_REVIEWS, _REVIEWS, _REVIEWS - 1, 0, 1])
    numbers = np.array([rng.random() for _ in range(2 * count)])
    if count and rng.random() < 0.5:
        numbers[rng.randrange(len(numbers))] = values.real(rng)
    content = heading + numbers.astype("<f4").tobytes()
    return content + hashlib.sha256(content).digest()


SUBJECTS = (
    Subject("states", _STATE, _make, _read_state, _wild_state, has_checksum=True, share=0.5),
    Subject("predictions", _PREDICTIONS, _make, _read_predictions, _wild_predictions, has_checksum=True, share=0.5),
)
