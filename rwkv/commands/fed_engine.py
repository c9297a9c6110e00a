"""An engine that has read a person's whole history: from what was kept of it last time, and the reviews since then."""

from pathlib import Path

from rwkv.commands.chosen_model import ChosenModel
from rwkv.commands.learner import Learner
from rwkv.data.history import RevlogTable
from rwkv.errors import InputError, SnapshotError
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.runtime import log, progress

# Of an imported collection; plain datasets are only read.
_STATE = "state.rwkv"
# A collection of more cards is read anew each time: its states take more than 4 GB of disk.
_MOST_CARDS = 45_000


def fed_engine(learner: Learner, model: ChosenModel) -> Engine:
    """The engine after all of the learner's reviews; whoever asks for it closes it.

    States are kept beside an imported collection, and read where they are of the same weights and of the beginning of
    this history; otherwise the history is read anew.
    """
    engine = Engine(model.network, draw_sequence(learner.user))
    path = _state_path(learner)
    if path is not None and path.is_file():
        _restore(engine, path, learner.history)
    rest = learner.history.part(slice(engine.reviews, None))
    if len(rest) == 0:
        return engine
    with progress((), len(learner.history), learner.name, "review", engine.reviews) as bar:
        for said in engine.feeding(rest):
            bar.update(len(said.p_imm))
    if path is not None:
        _keep(engine, path)
    return engine


def _state_path(learner: Learner) -> Path | None:
    if learner.info is None or learner.reviewed > _MOST_CARDS:
        return None
    return learner.root / "collection" / f"user_id={learner.user}" / _STATE


def _restore(engine: Engine, path: Path, history: RevlogTable) -> None:
    try:
        engine.restore(path, history)
    except SnapshotError as error:
        log.info("the history is read anew: %s", error.what)


def _keep(engine: Engine, path: Path) -> None:
    try:
        engine.save(path)
    except InputError as error:
        log.warning("the states are not kept, so the next time takes as long: %s", error)
