"""Running a few rows that share one past, by the native kernel if it fits: weights and states in flat form."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rwkv.model.heads import joined
from rwkv.model.network import Network
from rwkv.model.spec import CURVES, NetworkSpec, StreamSpec
from rwkv.model.state import LayerState, StreamState
from rwkv.ops.backend import Kernels
from rwkv.ops.cpu.network_step import PackedNetwork, network_rows, network_step, pack_network


def packed_network(network: Network) -> PackedNetwork:
    """Pack the network's present weights for the kernels."""
    spec = network.spec
    sizes = [spec.inputs, spec.input_hidden, spec.channels, spec.heads]
    sizes += [spec.decay_rank, spec.a_rank, spec.v_rank, spec.gate_rank, spec.head_hidden, CURVES]
    for stream, stream_spec in zip(network.streams, spec.streams, strict=True):
        sizes += [stream_spec.layers, stream.layers[0].channel_mixer.W_k.out_features]
    return pack_network(list(_weights(network)), sizes)


def _weights(network: Network) -> Iterator[Tensor]:
    """All weights in the order of `rwkv.native.network.pack_network`."""
    curve, ahead, ratings = network.head_w, network.head_ahead_logits, network.head_p
    for layer in network.features2card:
        yield from layer.parameters()
    for stream in network.streams:
        for number, block in enumerate(stream.layers):
            yield from (*block.time_mixer.weights(number == 0), *block.channel_mixer.weights)
    heads = network.prehead_norm, *curve, network.w_linear, *ahead, network.ahead_linear, *ratings, network.p_linear
    for layer in heads:
        yield from layer.parameters()


def state_size(spec: NetworkSpec, stream: StreamSpec) -> int:
    """The length of the flat state of one entity of a stream."""
    return stream.layers * spec.channels * (2 + spec.head_width)


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
    channels, width = spec.channels, spec.head_width
    layers: Sequence[Tensor] = flat.unflatten(1, (stream.layers, -1)).unbind(1)
    return [
        LayerState(
            time_shift=layer[:, :channels],
            channel_shift=layer[:, channels : 2 * channels],
            wkv=layer[:, 2 * channels :].view(-1, spec.heads, width, width).mT,
            seen=seen,
        )
        for layer in layers
    ]


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
    channels, width = spec.channels, spec.head_width
    seen = torch.tensor([state is not None for state in states], device=device)
    empty = torch.zeros(1, state_size(spec, stream))
    sizes = [2 * channels, channels * width] * stream.layers
    entities = ((empty if state is None else state).split(sizes, 1) for state in states)
    shifts_and_wkv = [torch.cat(parts).to(device) for parts in zip(*entities, strict=True)]
    return [
        LayerState(
            time_shift=shifts[:, :channels],
            channel_shift=shifts[:, channels:],
            wkv=wkv.view(-1, spec.heads, width, width).mT,
            seen=seen,
        )
        for shifts, wkv in zip(shifts_and_wkv[::2], shifts_and_wkv[1::2], strict=True)
    ]


class FewRows:
    """Runs a network on a few rows that share one past; the network's weights must not change meanwhile."""

    def __init__(self, network: Network) -> None:
        self._network = network
        # None if the kernels do not run this network.
        self.packed = packed_network(network) if network.backend.kernels is Kernels.NATIVE else None
        self._empty = [torch.zeros(1, state_size(network.spec, stream)) for stream in network.spec.streams]

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, before: Sequence[Tensor | None], writes: int) -> tuple[Tensor, list[Tensor]]:
        """Run rows independently of one another.

        Args:
            inputs: The network's inputs, float32 [N, E].
            before: Flat state [1, state] of the rows' entity in each stream; None for an entity without a review.
            writes: Number of last rows whose new states are returned.

        Returns:
            The joined outputs of the heads [N, outputs], and for each stream the states [writes, state] after the last
            rows.
        """
        seen = [state is not None for state in before]
        states = [empty if state is None else state for state, empty in zip(before, self._empty, strict=True)]
        if self.packed is not None:
            return network_step(self.packed, inputs, states, seen, writes)
        return self._step(inputs, states, seen, writes)

    def _step(self, inputs: Tensor, before: list[Tensor], seen: list[bool], writes: int) -> tuple[Tensor, list[Tensor]]:
        rows, spec, device = len(inputs), self._network.spec, self._network.device
        states = [
            unflat_state(flat.to(device).expand(rows, -1), torch.full((rows,), known, device=device), spec, stream)
            for flat, known, stream in zip(before, seen, spec.streams, strict=True)
        ]
        outputs, new_states = self._network.step(inputs.to(device), states)
        last = torch.arange(rows - writes, rows, device=device)
        return joined(outputs).cpu(), [flat_state([layer[last] for layer in state]).cpu() for state in new_states]


class ManyRows:
    """Runs a packed network on many rows by the native kernels.

    Args:
        packed: The network.
    """

    def __init__(self, packed: PackedNetwork) -> None:
        self._packed = packed

    def __call__(
        self,
        inputs: Tensor,
        is_query: Tensor,
        groups: Tensor,
        before: Sequence[Sequence[Tensor | None]],
        keep: bool,
        ratings_only: bool,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Run rows in time order.

        Args:
            inputs: The network's inputs, float32 [N, E].
            is_query: Whether each row is a query, bool [N].
            groups: Number of each row's group in each stream, int64 [streams, N], from 0.
            before: For each stream the flat state [1, state] of each group; None for a group without a review.
            keep: Whether to return the states after the rows.
            ratings_only: Whether the other heads are not asked for.

        Returns:
            The joined outputs of the heads [N, outputs], or the rating logits alone [N, 4], and for each stream the
            states of its groups after the rows, if they are kept.
        """
        return network_rows(self._packed, inputs, is_query, groups, before, keep, ratings_only)
