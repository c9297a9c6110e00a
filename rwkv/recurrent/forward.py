"""Running the network from stored states: a few rows that share one past, or many rows in the parallel form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.device import threads_for
from rwkv.model.heads import joined
from rwkv.model.native_step import FewRows, ManyRows, join_states, split_states
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
        self._kernel = ManyRows(self.few_rows.packed) if self.few_rows.packed is not None else None
        self._device = network.device

    @torch.inference_mode()
    def many_rows(
        self,
        inputs: Tensor,
        is_query: Tensor,
        numbers: Tensor,
        load: LoadStates,
        keep: KeepStates | None = None,
        ratings_only: bool = False,
    ) -> Tensor:
        """Run the network over many rows in time order.

        Args:
            inputs: The network's inputs, float32 [N, E].
            is_query: Whether each row is a query, bool [N].
            numbers: Number of each row's entity in each stream, int64 [N, streams].
            load: Loads the states before the rows.
            keep: Receives the states after the rows, stream by stream.
            ratings_only: Whether the other heads are not asked for.

        Returns:
            The joined outputs of all heads, [N, outputs], or the rating logits alone, [N, 4].
        """
        with threads_for(len(inputs)):
            if self._kernel is not None:
                return self._by_kernel(self._kernel, inputs, is_query, numbers, load, keep, ratings_only)
            x = self._last_rows(inputs, is_query, numbers, load, keep)
            outputs = self.network.read_ratings(x) if ratings_only else joined(self.network.read_out(x))
            return outputs.cpu()

    def _by_kernel(
        self,
        kernel: ManyRows,
        inputs: Tensor,
        is_query: Tensor,
        numbers: Tensor,
        load: LoadStates,
        keep: KeepStates | None,
        ratings_only: bool,
    ) -> Tensor:
        streams = [spec.name for spec in self.network.spec.streams]
        found = [numbers[:, place].unique(return_inverse=True) for place in range(len(streams))]
        entities, groups = [own.tolist() for own, _ in found], torch.stack([group for _, group in found])
        before = [load(name, own) for name, own in zip(streams, entities, strict=True)]
        outputs, after = kernel(inputs, is_query, groups, before, keep is not None, ratings_only)
        if keep is not None:
            for name, own, states in zip(streams, entities, after, strict=True):
                keep(StatesAfter(name, own, states))
        return outputs

    def _last_rows(
        self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: LoadStates, keep: KeepStates | None
    ) -> Tensor:
        """The rows before the heads, [N, C]."""
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
