"""A person's cards at a moment, and the work ahead, for a report."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rwkv.commands.learner import Learner, questions_at
from rwkv.commands.report_predictions import deck_of_cards
from rwkv.commands.schedule import play_ahead
from rwkv.evaluation.report_content import CURVE_TIMES_S, CardsNow, Floats, Workload
from rwkv.model.curve import recall_at
from rwkv.recurrent.engine import Engine
from rwkv.runtime import progress

WORKLOAD_RETENTIONS = (0.7, 0.8, 0.85, 0.9, 0.95)
WORKLOAD_DAYS = 30

_TOGETHER = 1024


def cards_now(engine: Engine, learner: Learner, at_s: float) -> CardsNow:
    """Recall and forgetting curve of every card that exists, by an engine that has read the learner's history.

    Raises CheckpointError where they are not finite.
    """
    count = len(learner.cards)
    p_now, curves = np.full(count, np.nan), np.full((count, len(CURVE_TIMES_S)), np.nan)
    rows = np.flatnonzero(learner.is_reviewed)
    with progress((), len(rows), "cards", "card") as bar:
        for start in range(0, len(rows), _TOGETHER):
            part = rows[start : start + _TOGETHER]
            p_now[part] = engine.predict_many(questions_at(learner, part, at_s)).p_imm
            curves[part] = _curves(engine, learner.number[part].tolist())
            bar.update(len(part))
    return CardsNow(
        card_id=learner.cards.card_id,
        note=learner.cards.note.tolist(),
        deck=deck_of_cards(learner)[learner.number],
        p_now=p_now,
        elapsed_s=np.maximum(0, at_s - learner.latest_s),
        curves=curves,
        suspended=learner.cards.is_suspended,
    )


def _curves(engine: Engine, numbers: Sequence[int]) -> Floats:
    outputs = torch.cat([engine.curve(number).outputs for number in numbers])
    return recall_at(outputs, torch.from_numpy(CURVE_TIMES_S)).numpy()


def workload(engine: Engine, learner: Learner, at_s: float) -> Workload:
    """The days ahead at each of WORKLOAD_RETENTIONS, each played through once as `rwkv schedule` does.

    The engine has read the learner's history, and afterwards also the answers of the last play. Raises InputError where
    there is no room for its states.
    """
    plays = []
    with tempfile.TemporaryDirectory(prefix="rwkv-report-") as folder:
        start = Path(folder) / "start.rwkv"
        engine.save(start)
        for retention in WORKLOAD_RETENTIONS:
            engine.restore(start)
            plays.append(play_ahead(engine, learner, at_s, retention, WORKLOAD_DAYS))
    reviews = [[len(day.card_id) for day in play] for play in plays]
    minutes = [[day.minutes for day in play] for play in plays]
    return Workload(np.array(WORKLOAD_RETENTIONS), np.array(reviews, np.float64), np.array(minutes, np.float64))
