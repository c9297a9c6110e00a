"""A few rows that share one past, states flat: by the native kernel where it fits, by Network.step elsewhere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packed import flat_state, pack_network, packs, state_size, unflat_state
from rwkv.ops.network_step import network_step


class FewRows:
    """A network that is ready to run; its weights must not change while it is in use."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._packed = pack_network(network) if packs(network) else None
        self._empty = [torch.zeros(1, state_size(network.spec, stream)) for stream in network.spec.streams]

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, before: Sequence[Tensor | None], writes: int) -> tuple[Tensor, list[Tensor]]:
        """inputs: [N, 92]. before: by stream the state [1, S] of the rows' entity, None where it has no review.

        Returns what `network_step` does: (outputs [N, 260], by stream the states [writes, S] after the last rows).
        """
        seen = [state is not None for state in before]
        states = [empty if state is None else state for state, empty in zip(before, self._empty, strict=True)]
        if self._packed is not None:
            return network_step(self._packed, inputs, states, seen, writes)
        return self._step(inputs, states, seen, writes)

    def _step(self, inputs: Tensor, before: list[Tensor], seen: list[bool], writes: int) -> tuple[Tensor, list[Tensor]]:
        rows, spec, device = len(inputs), self._network.spec, self._network.device
        states = [
            unflat_state(flat.to(device).expand(rows, -1), torch.full((rows,), known, device=device), spec, stream)
            for flat, known, stream in zip(before, seen, spec.streams, strict=True)
        ]
        outputs, after = self._network.step(inputs.to(device), states)
        last = torch.arange(rows - writes, rows, device=device)
        return torch.cat(outputs, 1).cpu(), [flat_state([layer[last] for layer in state]).cpu() for state in after]
