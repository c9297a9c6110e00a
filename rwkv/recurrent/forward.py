"""The network over rows and flat states: a few rows that share one past, or many rows in the parallel form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.device import threads_for
from rwkv.model.heads import joined
from rwkv.model.native_step import FewRows, join_states, split_states
from rwkv.model.network import Network
from rwkv.model.packing import pack_stream

# Gives the states of entities of a stream, [1, S] each, None of one without a review.
Load = Callable[[str, Sequence[int]], list[Tensor | None]]
# Takes the states of a stream.
Keep = Callable[["After"], None]


@dataclass(frozen=True)
class After:
    """The states of the entities of a stream after rows, as they are kept: [1, S] each. Entities ascend."""

    stream: str
    entities: list[int]
    states: list[Tensor]


class Passes:
    """A network that is ready to run; its weights must not change while it is in use."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.few = FewRows(network)
        self._device = network.device

    @torch.inference_mode()
    def many(self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: Load, keep: Keep | None = None) -> Tensor:
        """What the last stream says of each of many rows: [N, C].

        inputs [N, 92], in time order, of entities `numbers` [N, streams]. is_query [N]. keep: gets the states after the
        rows, stream after stream, so that those of one are at work at a time.
        """
        with threads_for(len(inputs)):
            return self._many(inputs, is_query, numbers, load, keep)

    def _many(self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: Load, keep: Keep | None) -> Tensor:
        device, spec = self._device, self.network.spec
        x = self.network.features2card(inputs.to(device, self.network.dtype))
        for place, (stream, of) in enumerate(zip(self.network.streams, spec.streams, strict=True)):
            entities = numbers[:, place].unique().tolist()
            before = join_states(load(of.name, entities), device, spec, of)
            layout = pack_stream(numbers[:, place], is_query).to(device)
            out, states = stream.resume(x[layout.order], layout, before)
            x = out[layout.inverse]
            del before
            if keep is not None:
                keep(After(of.name, entities, split_states(states)))
        return x

    @torch.inference_mode()
    def read_out(self, x: Tensor) -> Tensor:
        """w_logits, ahead_logits and p_logits [N, 260] of rows x [N, C]."""
        return joined(self.network.read_out(x)).cpu()

    @torch.inference_mode()
    def ratings(self, x: Tensor) -> Tensor:
        """p_logits [N, 4] alone."""
        return self.network.read_ratings(x).cpu()
