"""The state of a stream's entities between rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.pytree import map_tensors


@dataclass(frozen=True)
class LayerState:
    """The state of one layer for G entities, always in float32.

    Attributes:
        time_shift: Normalised input of the time mixer at each entity's last review row, [G, C].
        channel_shift: Normalised input of the channel mixer at that row, [G, C].
        wkv: State of the recurrence, [G, H, K, K].
        seen: Whether the entity has a review row, bool [G]; otherwise the shifts are not used.
    """

    time_shift: Tensor
    channel_shift: Tensor
    wkv: Tensor
    seen: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "LayerState":
        return map_tensors(lambda x: x[rows], self)


StreamState = list[LayerState]


def empty_state(layers: int, entities: int, channels: int, heads: int) -> StreamState:
    """The states of `entities` entities without a review, one for each layer."""
    width = channels // heads
    return [
        LayerState(
            time_shift=torch.zeros(entities, channels),
            channel_shift=torch.zeros(entities, channels),
            wkv=torch.zeros(entities, heads, width, width),
            seen=torch.zeros(entities, dtype=torch.bool),
        )
        for _ in range(layers)
    ]
