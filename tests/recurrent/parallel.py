"""The parallel form's predictions of each review of a history, with which the recurrent form is compared."""

from dataclasses import dataclass

import numpy as np
import torch

from rwkv.batches.collate import collate
from rwkv.data.history import RevlogTable
from rwkv.data.segments import whole_history
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.recurrent.engine import Prediction

# In probability (spec 7): float32 sums in another order.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Predictions:
    """p_ahead [R], p_imm [R] and p_all [R, 4] by review; NaN where there is no prediction."""

    p_ahead: np.ndarray
    p_imm: np.ndarray
    p_all: np.ndarray


@torch.no_grad()
def parallel_predictions(network: Network, table: RevlogTable) -> Predictions:
    """Predict the whole history in one pass; each prediction stands at the review that it predicts."""
    segment = whole_history(table, np.zeros(len(table), bool))
    batch = collate([segment], [draw_sequence(table.user)])
    outputs = network(batch.inputs(), batch.layouts)
    curve = curve_logits(outputs.w_logits, outputs.ahead_logits, torch.from_numpy(segment.labels.elapsed_s))
    p_ahead, p_imm, p_all = (np.full((len(table), *shape), np.nan) for shape in ((), (), (4,)))
    review = np.searchsorted(table.review_th, segment.labels.review_th)
    ahead, query = segment.labels.has_label & ~segment.is_query, segment.is_query
    p_ahead[review[ahead]] = curve.corrected.sigmoid().numpy()[ahead]
    p_imm[review[query]] = immediate_recall(outputs.p_logits).numpy()[query]
    p_all[review[query]] = outputs.p_logits.softmax(-1).numpy()[query]
    return Predictions(p_ahead, p_imm, p_all)


def stack(answers: list[Prediction]) -> Predictions:
    """Stack the engine's predictions into arrays."""
    nothing = np.full(4, np.nan)
    return Predictions(
        np.array([answer.p_ahead for answer in answers], float),
        np.array([answer.p_imm for answer in answers], float),
        np.array([nothing if answer.p_all is None else answer.p_all for answer in answers]),
    )
