"""An engine that has read a person's whole history, starting from saved states if there are any."""

import os
import sys
from pathlib import Path

from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.kept_predictions import read_predictions, write_predictions
from rwkv.collection.learner import Learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError, SnapshotError
from rwkv.files import file_errors
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, empty_predictions, joined
from rwkv.runtime import log, progress

# The files of an imported collection. Nothing is written to a plain dataset.
_STATE, _PREDICTIONS = "state.rwkv", "predictions.rwkv"
# The default limit of the file's size.
MOST_BYTES = 100_000_000
# Bytes of states in memory; the others are in a temporary file.
_MEMORY = 500_000_000


def fed_engine(
    learner: Learner, model: ChosenModel, states_bytes: int | None = None
) -> tuple[Engine, Predictions | None]:
    """An engine that has read all of the learner's reviews, and its predictions of them.

    The states and the predictions are saved beside an imported collection. They are loaded if they belong to the same
    weights and to the beginning of this history; otherwise the engine reads the whole history again and saves both. The
    caller closes the engine.

    Args:
        learner: The person.
        model: The model.
        states_bytes: The largest size of the states' file, which is deleted if it would be larger; 0 for no file. None
            is MOST_BYTES for a new file, and no limit for an existing one.

    Returns:
        The engine, and predictions of all reviews before their answers. Loaded predictions have no p_all. They are None
        if they cannot be loaded and the files may not be written.

    Raises:
        CheckpointError: Predictions are not finite. The engine is closed then.
    """
    folder = _folder(learner)
    engine = _empty_engine(learner, model)
    try:
        is_restored = folder is not None and _restore(engine, folder, learner.history)
        limit = states_bytes
        if limit is None:
            limit = sys.maxsize if is_restored else MOST_BYTES
        earlier: Predictions | None = empty_predictions(0)
        if folder is not None and is_restored:
            earlier = _read_predictions(engine, folder)
            if earlier is None and engine.saved_bytes <= limit and os.access(folder, os.W_OK):
                log.info("reading the whole history again: the saved predictions are missing or do not fit the states")
                engine.close()
                engine, earlier = _empty_engine(learner, model), empty_predictions(0)
        is_new = engine.reviews < len(learner.history)
        later = feed_rest(engine, learner)
        predictions = None if earlier is None else joined([earlier, later])
        if folder is not None and _save_state(engine, folder, limit, is_new) and is_new and predictions is not None:
            _save_predictions(engine, folder, predictions)
    except BaseException:
        engine.close()
        raise
    return engine, predictions


def feed_rest(engine: Engine, learner: Learner) -> Predictions:
    """Feed the learner's reviews that the engine has not read. Returns its predictions before their answers.

    Raises:
        CheckpointError: Predictions are not finite.
    """
    rest = learner.history.part(slice(engine.reviews, None))
    parts = [empty_predictions(0)]
    if len(rest) > 0:
        with progress((), len(learner.history), learner.name, "review", engine.reviews) as bar:
            for part in engine.feeding(rest):
                parts.append(part)
                bar.update(len(part.p_imm))
    return joined(parts)


def _folder(learner: Learner) -> Path | None:
    return None if learner.info is None else learner.root / "collection" / f"user_id={learner.user}"


def _empty_engine(learner: Learner, model: ChosenModel) -> Engine:
    return Engine(model.runner, draw_sequence(learner.user), memory=_MEMORY)


def _restore(engine: Engine, folder: Path, history: RevlogTable) -> bool:
    """Restore the saved states if possible. Returns whether they were restored."""
    path = folder / _STATE
    if not path.is_file():
        return False
    try:
        engine.restore(path, history)
    except SnapshotError as error:
        log.info("reading the whole history again: %s", error.what)
        return False
    return True


def _read_predictions(engine: Engine, folder: Path) -> Predictions | None:
    """The saved predictions of the reviews that the engine has read; None if they are unknown."""
    try:
        return read_predictions(folder / _PREDICTIONS, engine)
    except InputError as error:
        log.warning("the predictions of past reviews are unknown: %s", error)
        return None


def _save_state(engine: Engine, folder: Path, limit: int, is_new: bool) -> bool:
    """Save the states, or delete the files if they would be too large. Returns whether the states are on disk."""
    size, path = engine.saved_bytes, folder / _STATE
    try:
        if size > limit:
            for name in (_STATE, _PREDICTIONS):
                with file_errors(folder / name):
                    (folder / name).unlink(missing_ok=True)
            what = "the network's states, %.0f MB, are not saved: `states` allows %.0f MB; the next run will be as slow"
            log.info(what, size / 1e6, limit / 1e6)
            return False
        if is_new:
            engine.save(path)
            log.info("saved the network's states for the next run: %.1f MB in %s", size / 1e6, path)
    except InputError as error:
        log.warning("the network's states are not saved, so the next run will be as slow: %s", error)
        return False
    return True


def _save_predictions(engine: Engine, folder: Path, predictions: Predictions) -> None:
    try:
        write_predictions(folder / _PREDICTIONS, engine, predictions)
    except InputError as error:
        log.warning("the predictions of past reviews are not saved: %s", error)
