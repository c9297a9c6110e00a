"""An engine that has read a person's whole history: from what was kept of it last time, and the reviews since then."""

import sys
from pathlib import Path

from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.kept_predictions import read_predictions, write_predictions
from rwkv.collection.learner import Learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError, SnapshotError
from rwkv.files import file_errors
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, empty_predictions, joined
from rwkv.runtime import log, progress

# Of an imported collection; plain datasets are only read.
_STATE, _PREDICTIONS = "state.rwkv", "predictions.rwkv"
# Where nobody has said how large it may be.
MOST_BYTES = 100_000_000
# Of states that are held; the others lie in a temporary file.
_MEMORY = 500_000_000


def fed_engine(
    learner: Learner, model: ChosenModel, states_bytes: int | None = None
) -> tuple[Engine, Predictions | None]:
    """The engine after all of the learner's reviews, which whoever asks for it closes, and what it said of each.

    States are kept beside an imported collection, and read where they are of the same weights and of the beginning of
    this history; otherwise the history is read anew. states_bytes: the most that the file may take, 0 keeps none; None:
    MOST_BYTES, and whatever one takes that is there already. A file that would be larger is deleted. The predictions,
    without p_all where they were kept, are None where states were kept without them, as older versions did.
    """
    engine = Engine(model.network, draw_sequence(learner.user), memory=_MEMORY)
    folder = _folder(learner)
    earlier: Predictions | None = empty_predictions(0)
    if folder is not None and (folder / _STATE).is_file():
        earlier = _restore(engine, folder, learner.history, model.network)
    limit = states_bytes
    if limit is None:
        limit = sys.maxsize if engine.reviews > 0 else MOST_BYTES
    is_new = engine.reviews < len(learner.history)
    later = feed_rest(engine, learner)
    predictions = None if earlier is None else joined([earlier, later])
    if folder is not None and _keep_state(engine, folder, limit, is_new) and is_new and predictions is not None:
        _keep_predictions(engine, folder, predictions, model.network)
    return engine, predictions


def feed_rest(engine: Engine, learner: Learner) -> Predictions:
    """Feed the learner's reviews that the engine has not read, and return what it said of each before its answer.

    Raises CheckpointError where predictions are not finite.
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


def _restore(engine: Engine, folder: Path, history: RevlogTable, network: Network) -> Predictions | None:
    """Restore the engine if it can be; what it said of the reviews that it has read then, None where it is unknown."""
    try:
        engine.restore(folder / _STATE, history)
    except SnapshotError as error:
        log.info("the history is read anew: %s", error.what)
        return empty_predictions(0)
    try:
        return read_predictions(folder / _PREDICTIONS, network, engine)
    except InputError as error:
        log.warning("what was said of the past is not known: %s", error)
        return None


def _keep_state(engine: Engine, folder: Path, limit: int, is_new: bool) -> bool:
    """Whether the states are on the disk now; otherwise neither they nor the predictions are."""
    size, path = engine.saved_bytes, folder / _STATE
    try:
        if size > limit:
            for name in (_STATE, _PREDICTIONS):
                with file_errors(folder / name):
                    (folder / name).unlink(missing_ok=True)
            what = (
                "the network's states, %.0f MB, are not kept: --states allows %.0f; next time the history is read anew"
            )
            log.info(what, size / 1e6, limit / 1e6)
            return False
        if is_new:
            engine.save(path)
            log.info("the network's states are kept for the next time: %.1f MB in %s", size / 1e6, path)
    except InputError as error:
        log.warning("the states are not kept, so the next time takes as long: %s", error)
        return False
    return True


def _keep_predictions(engine: Engine, folder: Path, predictions: Predictions, network: Network) -> None:
    try:
        write_predictions(folder / _PREDICTIONS, network, engine, predictions)
    except InputError as error:
        log.warning("the predictions of the past are not kept, so the next time they are not known: %s", error)
