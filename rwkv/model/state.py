"""What a stream remembers of an entity between rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.pytree import map_tensors


@dataclass(frozen=True)
class LayerState:
    """State of one layer for G entities (or rows). Float32 whatever the network computes in.

    time_shift, channel_shift [G, C]: the last review row's normalised input of the two mixers. wkv [G, H, K, K].
    seen bool [G]: whether there was a review row; where not, the shifts are not used.
    """

    time_shift: Tensor
    channel_shift: Tensor
    wkv: Tensor
    seen: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "LayerState":
        return map_tensors(lambda x: x[rows], self)


StreamState = list[LayerState]


def empty_state(layers: int, entities: int, channels: int, heads: int) -> StreamState:
    """The state of entities without a review."""
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
