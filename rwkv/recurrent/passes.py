"""The network over rows and flat states: a few rows that share one past, or many rows in the parallel form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.model.few_rows import FewRows
from rwkv.model.network import Network
from rwkv.model.packed import flat_state, state_size, unflat_state
from rwkv.model.packing import pack_stream
from rwkv.model.state import StreamState

# Gives the states of entities of a stream, [1, S] each, None of one without a review.
Load = Callable[[str, Sequence[int]], list[Tensor | None]]


@dataclass(frozen=True)
class After:
    """The states [G] of the entities of a stream after rows; entities ascend."""

    stream: str
    entities: list[int]
    states: StreamState

    def flat(self) -> Tensor:
        """The states as they are kept, [G, S]."""
        return flat_state(self.states).cpu()


class Passes:
    """A network that is ready to run; its weights must not change while it is in use."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.few = FewRows(network)
        self._device = network.device

    @torch.inference_mode()
    def many(self, inputs: Tensor, is_query: Tensor, numbers: Tensor, load: Load) -> tuple[Tensor, list[After]]:
        """Rows in time order, [N, 92], of entities `numbers` [N, streams]. is_query [N].

        Returns (what the last stream says of each row [N, C], by stream the states after the rows).
        """
        device, spec, after = self._device, self.network.spec, []
        x = self.network.features2card(inputs.to(device, self.network.dtype))
        for place, (stream, of) in enumerate(zip(self.network.streams, spec.streams, strict=True)):
            entities = numbers[:, place].unique().tolist()
            loaded = load(of.name, entities)
            seen = torch.tensor([state is not None for state in loaded])
            empty = torch.zeros(1, state_size(spec, of))
            flat = torch.cat([empty if state is None else state for state in loaded]).to(device)
            layout = pack_stream(numbers[:, place], is_query).to(device)
            out, states = stream.resume(x[layout.order], layout, unflat_state(flat, seen.to(device), spec, of))
            x = out[layout.inverse]
            after.append(After(of.name, entities, states))
        return x, after

    @torch.inference_mode()
    def read_out(self, x: Tensor) -> Tensor:
        """w_logits, ahead_logits and p_logits [N, 260] of rows x [N, C]."""
        return torch.cat(self.network.read_out(x), 1).cpu()

    @torch.inference_mode()
    def ratings(self, x: Tensor) -> Tensor:
        """p_logits [N, 4] alone."""
        return self.network.read_ratings(x).cpu()
