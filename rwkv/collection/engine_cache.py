"""An engine that has read a person's whole history: from what was kept of it last time, and the reviews since then."""

import sys
from pathlib import Path

from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.learner import Learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError, SnapshotError
from rwkv.files import file_errors
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.runtime import log, progress

# Of an imported collection; plain datasets are only read.
_STATE = "state.rwkv"
# Where nobody has said how large it may be.
MOST_BYTES = 100_000_000
# Of states that are held; the others lie in a temporary file.
_MEMORY = 500_000_000


def fed_engine(learner: Learner, model: ChosenModel, states_bytes: int | None = None) -> Engine:
    """The engine after all of the learner's reviews; whoever asks for it closes it.

    States are kept beside an imported collection, and read where they are of the same weights and of the beginning of
    this history; otherwise the history is read anew. states_bytes: the most that the file may take, 0 keeps none; None:
    MOST_BYTES, and whatever one takes that is there already. A file that would be larger is deleted.
    """
    engine = Engine(model.network, draw_sequence(learner.user), memory=_MEMORY)
    path = _state_path(learner)
    if path is not None and path.is_file():
        _restore(engine, path, learner.history)
    limit = states_bytes
    if limit is None:
        limit = sys.maxsize if engine.reviews > 0 else MOST_BYTES
    rest = learner.history.part(slice(engine.reviews, None))
    if len(rest) > 0:
        with progress((), len(learner.history), learner.name, "review", engine.reviews) as bar:
            for predictions in engine.feeding(rest):
                bar.update(len(predictions.p_imm))
    if path is not None:
        _keep(engine, path, limit, is_new=len(rest) > 0)
    return engine


def _state_path(learner: Learner) -> Path | None:
    return None if learner.info is None else learner.root / "collection" / f"user_id={learner.user}" / _STATE


def _restore(engine: Engine, path: Path, history: RevlogTable) -> None:
    try:
        engine.restore(path, history)
    except SnapshotError as error:
        log.info("the history is read anew: %s", error.what)


def _keep(engine: Engine, path: Path, limit: int, is_new: bool) -> None:
    size = engine.saved_bytes
    try:
        if size > limit:
            with file_errors(path):
                path.unlink(missing_ok=True)
            what = (
                "the network's states, %.0f MB, are not kept: --states allows %.0f; next time the history is read anew"
            )
            log.info(what, size / 1e6, limit / 1e6)
        elif is_new:
            engine.save(path)
            log.info("the network's states are kept for the next time: %.1f MB in %s", size / 1e6, path)
    except InputError as error:
        log.warning("the states are not kept, so the next time takes as long: %s", error)
