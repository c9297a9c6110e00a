"""States in flat form, in which the engine keeps them: one row of numbers for each entity of a stream."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rwkv.model.spec import NetworkSpec, StreamSpec
from rwkv.model.state import LayerState, StreamState


def flat_state(state: StreamState) -> Tensor:
    """Flatten the states of G entities.

    Returns:
        Flat states, float32 [G, state]: for each layer time_shift [C], channel_shift [C] and wkv [H, K (key),
        K (value)].
    """
    layers = [(layer.time_shift, layer.channel_shift, layer.wkv.mT.flatten(1)) for layer in state]
    return torch.cat([part for layer in layers for part in layer], 1)


def unflat_state(flat: Tensor, seen: Tensor, spec: NetworkSpec, stream: StreamSpec) -> StreamState:
    """Views of flat states as the states of a stream.

    Args:
        flat: Flat states, float32 [G, state].
        seen: Whether each entity has a review row, bool [G].
        spec: Sizes of the network.
        stream: Sizes of the stream.
    """
    layers: Sequence[Tensor] = flat.unflatten(1, (stream.layers, -1)).unbind(1)
    return [_layer_state(layer[:, : 2 * spec.channels], layer[:, 2 * spec.channels :], seen, spec) for layer in layers]


def _layer_state(shifts: Tensor, wkv: Tensor, seen: Tensor, spec: NetworkSpec) -> LayerState:
    """Views of both shifts, [G, 2 C], and of wkv, [G, C K], as the states of a layer."""
    return LayerState(
        time_shift=shifts[:, : spec.channels],
        channel_shift=shifts[:, spec.channels :],
        wkv=wkv.view(-1, spec.heads, spec.head_width, spec.head_width).mT,
        seen=seen,
    )


def split_states(state: StreamState) -> list[Tensor]:
    """The flat state [1, state] of each entity, in separate memory, so that one does not keep the others alive."""
    layers = [(layer.time_shift, layer.channel_shift, layer.wkv.mT.flatten(1)) for layer in state]
    entities = zip(*(part.cpu().split(1) for layer in layers for part in layer), strict=True)
    return [torch.cat(parts, 1) for parts in entities]


def join_states(
    states: Sequence[Tensor | None], device: torch.device, spec: NetworkSpec, stream: StreamSpec
) -> StreamState:
    """Join flat states into the states of a stream.

    Args:
        states: Flat state [1, state] of each entity; None for an entity without a review.
        device: Device of the result.
        spec: Sizes of the network.
        stream: Sizes of the stream.
    """
    seen = torch.tensor([state is not None for state in states], device=device)
    empty = torch.zeros(1, spec.state_size(stream))
    sizes = [2 * spec.channels, spec.channels * spec.head_width] * stream.layers
    entities = ((empty if state is None else state).split(sizes, 1) for state in states)
    shifts_and_wkv = [torch.cat(parts).to(device) for parts in zip(*entities, strict=True)]
    layers = zip(shifts_and_wkv[::2], shifts_and_wkv[1::2], strict=True)
    return [_layer_state(shifts, wkv, seen, spec) for shifts, wkv in layers]
