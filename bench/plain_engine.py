"""The engine's baseline: one review at a time through Network.step, with one state for each entity and layer."""

import numpy as np
import torch
from torch import Tensor

from rwkv.data.features import query_features, review_features
from rwkv.data.segments import has_query
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.inputs import SequenceDraw, as_int64
from rwkv.model.network import Network
from rwkv.model.state import LayerState, StreamState
from rwkv.model.tensor_inputs import cycles, encode_inputs, row_codes
from rwkv.pytree import map_tensors
from rwkv.recurrent.features import PastCounters, Review
from rwkv.recurrent.predictions import Prediction


class PlainEngine:
    """Predicts one person's reviews like rwkv.recurrent.engine.Engine.

    Args:
        network: The network, ready to predict.
        draw: The random encodings of the history.
    """

    def __init__(self, network: Network, draw: SequenceDraw) -> None:
        self._network = network
        self._device = network.device
        self._prefix = torch.tensor([as_int64(draw.prefix)])
        self._phases = torch.tensor([draw.phases])
        self._past = PastCounters()
        self._empty = [[_to(layer, self._device) for layer in state] for state in network.empty_states(1)]
        # For each stream, the state [1] of each entity.
        self._states: dict[str, dict[int, StreamState]] = {stream.name: {} for stream in network.spec.streams}
        # By card: w_logits and ahead_logits [1, 128] of its latest review row.
        self._curves: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.inference_mode()
    def answer(self, review: Review) -> Prediction:
        """Predict a review from the reviews before it, then add it to the history."""
        p_ahead = self._recall_ahead(review)
        inputs = self._inputs(review)
        rows = len(inputs)
        outputs, new_states = self._network.step(inputs, self._states_before(review, rows))
        self._add(review, outputs, new_states)
        if rows == 1:
            return Prediction(p_ahead, None, None)
        p_logits = outputs.p_logits[:1]
        p_imm, p_all = immediate_recall(p_logits).item(), p_logits.softmax(-1)[0].cpu().numpy()
        return Prediction(p_ahead, p_imm, p_all)

    def _recall_ahead(self, review: Review) -> float | None:
        """The recall by the curve of the card's previous review."""
        curve = self._curves.get(review.card)
        if curve is None:
            return None
        elapsed_s = torch.tensor([review.elapsed_s], device=self._device)
        return curve_logits(*curve, elapsed_s).corrected.sigmoid().item()

    def _inputs(self, review: Review) -> Tensor:
        """The rows of a review, [N, E]: the query row, if it has one, and the review row."""
        context = self._past.context(review)
        day, first_day = self._past.days(review)
        features = review_features(context, np.array([day]))
        queried = has_query(context.elapsed_days.astype(np.int32))
        rows = torch.from_numpy(np.concatenate([query_features(features)[queried], features]))
        codes = row_codes(self._prefix, {stream: torch.tensor([number]) for stream, number in review.entities.items()})
        calendar = cycles(torch.tensor([day]), torch.tensor([first_day]), self._phases)
        return encode_inputs(rows, [code.expand(len(rows), -1) for code in codes], calendar.expand(len(rows), -1)).to(
            self._device
        )

    def _states_before(self, review: Review, rows: int) -> list[StreamState]:
        """The state of the review's entity in each stream, repeated for each row."""
        same = torch.zeros(rows, dtype=torch.int64, device=self._device)
        entities = review.entities
        return [
            [layer[same] for layer in states.get(entities[stream], empty)]
            for (stream, states), empty in zip(self._states.items(), self._empty, strict=True)
        ]

    def _add(self, review: Review, outputs: Outputs, new_states: list[StreamState]) -> None:
        """Keep the states and the curve of the review row, which is the last row."""
        # Indexing by a tensor copies. A slice would also keep the query row's state in memory.
        last = torch.tensor([len(outputs.p_logits) - 1], device=self._device)
        entities = review.entities
        for (stream, states), state in zip(self._states.items(), new_states, strict=True):
            states[entities[stream]] = [layer[last] for layer in state]
        self._curves[review.card] = outputs.w_logits[last], outputs.ahead_logits[last]
        self._past.commit(review)


def _to(layer: LayerState, device: torch.device) -> LayerState:
    return map_tensors(lambda x: x.to(device), layer)
