"""Running the network from stored states: a few rows that share one past, or many rows in the parallel form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.device import threads_for
from rwkv.model.heads import joined
from rwkv.model.native_step import FewRows, join_states, split_states
from rwkv.model.network import Network
from rwkv.model.packing import pack_stream, whole_stream
from rwkv.model.slices import run_stream

# Loads the flat states [1, state] of a stream's entities; None for an entity without a review.
LoadStates = Callable[[str, Sequence[int]], list[Tensor | None]]
# Keeps the new states of a stream.
KeepStates = Callable[["StatesAfter"], None]


@dataclass(frozen=True)
class StatesAfter:
    """The states of a stream after some rows.

    Attributes:
        stream: Name of the stream.
        entities: Numbers of the entities in the rows, ascending.
        states: Flat state [1, state] of each entity.
    """

    stream: str
    entities: list[int]
    states: list[Tensor]


class NetworkRunner:
    """Runs a network on rows; the network's weights must not change meanwhile."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.few_rows = FewRows(network)
        self._device = network.device

    @torch.inference_mode()
    def many_rows(
        self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: LoadStates, keep: KeepStates | None = None
    ) -> Tensor:
        """Run all streams over many rows in time order.

        Args:
            inputs: The network's inputs, float32 [N, E].
            is_query: Whether each row is a query, bool [N].
            numbers: Number of each row's entity in each stream, int64 [N, streams].
            load: Loads the states before the rows.
            keep: Receives the states after the rows, one stream at a time, which bounds the memory.

        Returns:
            The rows before the heads, [N, C].
        """
        with threads_for(len(inputs)), self.network.backend.threads():
            return self._many_rows(inputs, is_query, numbers, load, keep)

    def _many_rows(
        self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: LoadStates, keep: KeepStates | None
    ) -> Tensor:
        device, spec = self._device, self.network.spec
        x = self.network.features2card(inputs.to(device, self.network.dtype))
        for place, (stream, stream_spec) in enumerate(zip(self.network.streams, spec.streams, strict=True)):
            entities = numbers[:, place].unique().tolist()
            before = join_states(load(stream_spec.name, entities), device, spec, stream_spec)
            layout = pack_stream(numbers[:, place], is_query).to(device)
            part = whole_stream(layout, before[0].seen, keeps_states=keep is not None)
            out, states = run_stream(stream, x, [part], before)
            x = out[layout.inverse]
            del before
            if keep is not None:
                keep(StatesAfter(stream_spec.name, entities, split_states(states)))
        return x

    @torch.inference_mode()
    def read_out(self, x: Tensor) -> Tensor:
        """The joined outputs of all heads (w_logits, ahead_logits and p_logits), [N, outputs], of rows x [N, C]."""
        return joined(self.network.read_out(x)).cpu()

    @torch.inference_mode()
    def ratings(self, x: Tensor) -> Tensor:
        """The rating logits alone, [N, 4], of rows x [N, C]."""
        return self.network.read_ratings(x).cpu()
