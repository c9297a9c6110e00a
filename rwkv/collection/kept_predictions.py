"""The file of a model's predictions of past reviews, beside the network's saved states.

The file has a line with the version, the weights, the history and the number of reviews R; then p_imm and p_ahead, each
float32 [R]; then the SHA-256 of all of these.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from rwkv.files import file_errors, write_whole
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, empty_predictions


def write_predictions(path: Path, engine: Engine, predictions: Predictions) -> None:
    """Write the predictions of all reviews of the engine. Raises InputError if the file cannot be written."""
    columns = np.stack([predictions.p_imm, predictions.p_ahead]).astype("<f4")
    data = _heading(engine) + columns.tobytes()
    write_whole(path, data + hashlib.sha256(data).digest())


def read_predictions(path: Path, engine: Engine) -> Predictions | None:
    """Read the predictions of all reviews of the engine, without p_all.

    Returns:
        The predictions; None if the file is missing or damaged, has invalid values, or belongs to other weights or
        reviews.

    Raises:
        InputError: The file cannot be read.
    """
    with file_errors(path):
        if not path.is_file():
            return None
        data = path.read_bytes()
    heading, count = _heading(engine), engine.reviews
    size = len(heading) + 2 * count * np.dtype("<f4").itemsize
    is_whole = hashlib.sha256(data[:size]).digest() == data[size:]
    if not data.startswith(heading) or not is_whole:
        return None
    columns = np.frombuffer(data[len(heading) : size], "<f4").reshape(2, count).astype(np.float64)
    if not (np.isnan(columns) | ((columns >= 0) & (columns <= 1))).all():
        return None
    p_imm, p_ahead = columns
    return replace(empty_predictions(count), p_imm=p_imm, p_ahead=p_ahead)


def _heading(engine: Engine) -> bytes:
    return f"rwkv-predictions-1 {engine.weights} {engine.fingerprint} {engine.reviews}\n".encode()
